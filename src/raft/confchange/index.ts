/** Configuration changes. The only file of this folder that others import. */
export * from "./changer";
export * from "./describe";
export * from "./restore";
