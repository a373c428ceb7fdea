/** Quorums: how many have to agree. The only file of this folder that others import. */
export * from "./majority";
export * from "./joint";
