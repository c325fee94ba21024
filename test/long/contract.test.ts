/** The recordings of Ray Serve that wait for an autoscaler. */
import { conform } from "../contract/conform.ts";
import { SLOW_GROUPS } from "../contract/conformance.ts";

conform(SLOW_GROUPS);
