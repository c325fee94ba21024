/** What callers of other deployments see, and scripts. */
import type { Difference } from "./difference.ts";

export const HANDLES: readonly Difference[] = [
  {
    in: ["X-HDL-02"],
    what: /^json\.wrong args\.(result|str_last_line)$/,
    why: "JavaScript counts no arguments: what is missing is undefined, and `ctx` comes last",
  },
  {
    in: ["X-HDL-04"],
    what: "json.response_inside_list_argument.str_last_line",
    skein: /^A DeploymentResponse can't be serialised\. Pass it as an argument of its own/,
    why: "as Ray, and what to do instead",
  },
  {
    in: ["X-HDL-05"],
    what: "json.executed_order",
    skein: "[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19]",
    why: "calls of one caller on one replica begin in the order in which they were made",
  },
  {
    in: ["X-HDL-06"],
    what: /^json\.(await a stream|generator method without stream=True|stream=True on a unary method)\.str_last_line$/,
    skein: /for await|\{ stream: true \}/,
    why: "as Ray, in this language's words",
  },
  {
    in: ["C015"],
    what: "run with prefix /a/",
    skein: /should not end with '\/' unless it is '\/'/,
    why: "Ray's sentence of another layer, which knows that / itself is good",
  },
  {
    in: ["C015"],
    what: "run a Deployment instead of an Application",
    skein: /^`run` expects an `Application` returned by `Deployment\.bind\(\)`/,
    why: "as Ray, and what to do instead",
  },
  {
    in: ["C015"],
    what: "run second app on used prefix /imp",
    skein: 'Prefix /imp is being used by application "imp". Failed to deploy application "second".',
    why: "Ray's words, without the actor's name that stands before them",
  },
];
