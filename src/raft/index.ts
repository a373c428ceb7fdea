/** The consensus core: the only file of this folder that others import. */
export * from "./types";
export * from "./message";
export * from "./log_reader";
export * from "./ready";
export * from "./config";
export * from "./status";
export * from "./refusals";
export * from "./size";
export * from "./random";
export { InvariantError } from "./assert";
export type { ConfChangeResult, ProposeResult } from "./proposal";
export * from "./raw_node";
