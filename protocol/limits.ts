/**
 * Every bound of the wire and of what waits behind it, with its unit and its reason. (The engine has its own.)
 */
export const KIB = 1024;
export const MIB = 1024 * KIB;

/** Payload of one frame, bytes: small enough that one big body can't hold up other streams on the link. */
export const FRAME_PAYLOAD_MAX = 64 * KIB;
/** One WebSocket message on a data link, bytes: a turn's frames are joined up to here. `maxPayload` of the socket. */
export const LINK_MESSAGE_MAX = 512 * KIB;
/** Unacknowledged chunk bytes (headers included, so that empty chunks aren't free) per stream and direction. */
export const STREAM_WINDOW = 256 * KIB;
/**
 * The same for all streams of a link together, while they are on their way: what an owner holds for a slow reader counts against its stream
 * alone, else 16 stopped readers would silence a link. A WebSocket has no flow control: `ws` buffered 61 MB for one paused peer.
 */
export const LINK_WINDOW = 4 * MIB;
/**
 * What one ingress holds for all who read slowly, bytes: a thousand full windows. Without it 10,000 clients that stop reading would hold
 * 2.5 GiB. Above half of it streams get a chunk at a time, above it those who stand still for longest are cut off.
 */
export const BACKLOG_MAX = 256 * MIB;
/** Streams open at one time on a link; above it a replica answers busy, an ingress picks another. */
export const LINK_STREAMS_MAX = 4096;
/**
 * Links between a deployment's replicas and the ingresses: up to so many all are linked with all (32 replicas on 32 hosts); above, each ingress
 * has a subset, of at least two replicas, and each replica at least two ingresses: one of them may die.
 */
export const LINKS_FULL_MAX = 1_024;
export const LINKS_EACH_MIN = 2;
/** Hello must come within this, ms, else the connection is closed. */
export const HELLO_TIMEOUT_MS = 2_000;
/** The listening side pings this often, ms. */
export const PING_INTERVAL_MS = 1_000;
/** A link from which nothing came for this long, ms, is dead: half-open links are noticed within 5 s. */
export const LINK_SILENCE_MAX_MS = 4_000;
/**
 * A step of one's own clock beyond this, ms, is an absence: this process stood still (stopped, blocked, swapped out) and could hear nobody.
 * Half of the silence bound, and several ticks and a ping: who was away for less has not missed enough to judge wrongly.
 */
export const AWAY_AFTER_MS = 2_000;
/** A child process tells its parent this often, ms, that its main thread goes round. */
export const ALIVE_MS = 1_000;
/**
 * A parent looks this often, ms, and takes a child for hung after so many looks without a word: it is killed and started again.
 * Looks, not times: after the parent itself stood still every child has been silent for long, but for one look only.
 */
export const CHILD_LOOK_MS = 500;
export const CHILD_SILENT_LOOKS_MAX = 16;
/** The same before its first word: a busy machine takes its time to start a program. */
export const CHILD_SILENT_LOOKS_STARTING_MAX = 240;
/**
 * A link that has answered no ping for this long, ms, gets nothing new while others have room. A cut silences many links at once: who waits for the
 * first to be dead finds a request in a second one that is about to be.
 */
export const LINK_QUIET_MS = 2_000;
/** Hops of a request through ingresses: a cycle of deployments that call each other ends here. */
export const HOPS_MAX = 16;
/** A request body that is held for a retry, bytes: beyond it a request is no longer replayed. */
export const REPLAY_BODY_MAX = 1 * MIB;
/** Share of requests that may be retries, and the number always allowed, within `RETRY_BUDGET_WINDOW_MS`. */
export const RETRY_BUDGET_SHARE = 0.2;
export const RETRY_BUDGET_MIN = 10;
export const RETRY_BUDGET_WINDOW_MS = 10_000;
/** Requests waiting at one ingress for one deployment when `max_queued_requests` is -1 (Ray: unlimited). */
export const QUEUE_MAX = 10_000;
/** One control message, bytes (JSON). */
export const CONTROL_MESSAGE_MAX = 4 * MIB;
/** Heartbeats on a control link, ms, and how long a silent peer counts as alive. */
export const CONTROL_PING_MS = 1_000;
export const CONTROL_SILENCE_MAX_MS = 4_000;
/** A worker whose control link is gone keeps its replicas (and they keep serving) this long, ms, before they are replaced. */
export const WORKER_LOST_AFTER_MS = 5_000;
/** After its start the coordinator only listens for this long, ms, or until every known worker has reported. */
export const RECOVERY_MS = 10_000;
/** Ticket lifetime, ms: at most a day; revoked earlier through the routing table. */
export const TICKET_LIFETIME_MS = 24 * 3600_000;
/** Ticket of a script, ms: it asks for one whenever it dials. */
export const CALLER_TICKET_LIFETIME_MS = 10 * 60_000;
/** TCP and TLS handshake with a peer whose key is checked, ms, and a handshake that a stranger doesn't finish. */
export const DIAL_TIMEOUT_MS = 4_000;
/** Life of a self-signed certificate, ms, and how long before its end a start makes a new one. Diallers check its key, which stays. */
export const CERTIFICATE_LIFETIME_MS = 365 * 24 * 3600_000;
export const CERTIFICATE_RENEWED_MS = 30 * 24 * 3600_000;
/** HTTP request head at the client listener, bytes, and number of header lines. */
export const HTTP_HEAD_MAX = 16 * KIB;
export const HTTP_HEADERS_MAX = 100;
/** Client sockets of one ingress. */
export const CLIENT_SOCKETS_MAX = 10_000;
/** Time for a client to send its request head, ms. */
export const HTTP_HEAD_TIMEOUT_MS = 10_000;
/** Operators' API: body of a deploy request and of an uploaded blob, bytes. */
export const DEPLOY_BODY_MAX = 4 * MIB;
export const BLOB_MAX = 512 * MIB;
/** Files of one model that a tab is told of: shards of a repository, or files of an ONNX graph's tensors, up to 512 of either, and small ones. */
export const MODEL_FILES_MAX = 1_024;
/** Path of one of them below the model's folder, characters. */
export const MODEL_FILE_NAME_MAX = 1_024;
/** Name of a model, characters: that of a URL with its hash is the longest. */
export const MODEL_NAME_MAX = 2_048;
/** Models that a coordinator looks for at a time, for tabs: each is a process, and perhaps a download. */
export const MODEL_SEARCHES_MAX = 8;
/** Models whose files a coordinator remembers. */
export const MODELS_FOUND_MAX = 100;
/** A blob that nothing refers to stays this long after its last use, ms: a day to go back to yesterday's version without an upload. */
export const BLOB_GRACE_MS = 24 * 3600_000;
/** Applications, deployments in an application, replicas of a deployment. */
export const APPLICATIONS_MAX = 1_000;
export const DEPLOYMENTS_MAX = 200;
export const REPLICAS_MAX = 4_096;
/** Names of applications and deployments, characters. */
export const NAME_MAX = 128;
/** What an operator calls a key or a token, characters. */
export const LABEL_MAX = 100;
/** API keys of all applications: their hashes travel in every routing table. */
export const API_KEYS_MAX = 1_000;
/** Error messages that travel, characters: a traceback is useful, a dump isn't. */
export const MESSAGE_MAX = 16 * KIB;
/** Log of one replica on its host, bytes (two files of half this size), and what a reader may lag. */
export const REPLICA_LOG_MAX = 8 * MIB;
/** WebSocket message of a client (upgradeWebSocket), bytes. */
export const CLIENT_MESSAGE_MAX = 16 * MIB;
/** Pieces that a caller of a batched generator may lag behind: one that stops reading holds its batch, not the memory. */
export const BATCH_PIECES_AHEAD = 256;
/** gRPC message, bytes. */
export const GRPC_MESSAGE_MAX = 64 * MIB;
/** Descriptors of an application's gRPC services, base64 characters: they travel in the manifest and in every routing table. */
export const GRPC_DESCRIPTORS_MAX = 256 * KIB;
/** gRPC services of an application, and entries of `grpc_servicer_functions`. */
export const GRPC_SERVICES_MAX = 100;
/** OpenAI API: a request's body, bytes, and the answers (`n`, or prompts of one completion) that it may ask for. */
export const OPENAI_BODY_MAX = 4 * MIB;
export const OPENAI_CHOICES_MAX = 16;
/** Characters of `user` and `cache_salt`. */
export const OPENAI_LABEL_MAX = 256;
/** Inputs of one request for embeddings, and ids in one token array. */
export const OPENAI_INPUTS_MAX = 2_048;
export const OPENAI_TOKENS_MAX = 131_072;
/** A stream that has nothing to say sends a comment this often, ms: proxies close what is silent for 30 to 60 s. */
export const OPENAI_KEEP_ALIVE_MS = 15_000;
/** What opens a stream (headers, the role) waits this long for what is said first, ms. */
export const OPENAI_OPENING_WAIT_MS = 50;
/** What clients are told to wait at most while a model loads, s, whatever the estimate says. */
export const OPENAI_RETRY_AFTER_MAX_S = 60;
/** Requests that one replica of a model takes: they wait in its engine, where callers get their turns, and not at the ingress. */
export const OPENAI_REQUESTS_MAX = 64;
/**
 * Requests beyond those, per ingress, that wait for a replica; then clients are told 429. A model of 8 slots with answers of 10 s works that off
 * in a quarter of an hour: longer than anybody waits.
 */
export const OPENAI_QUEUED_MAX = 1_000;
/** Models of one application. */
export const OPENAI_MODELS_MAX = 64;

/** Engines of one replica that are reported: one for each model that it loads. */
export const ENGINES_MAX = 16;

/** Buckets of a histogram in a report. */
export const HISTOGRAM_BUCKETS_MAX = 64;
/** ONNX models: bytes of a request's body. */
export const ONNX_BODY_MAX = 32 * MIB;
/** Rows of one run, of all calls together, unless the application says otherwise: GPUs like more, CPUs gain nothing by it. */
export const ONNX_BATCH_DEFAULT = 32;
/** Calls, and rows, that one run may have. */
export const ONNX_CALLS_MAX = 4_096;
/** Requests that one replica of an ONNX model takes. */
export const ONNX_REQUESTS_MAX = 64;
