/** Majorities and joint quorums. The only file of this folder that others import. */
export * from "./majority";
export * from "./joint";
