/** A leader's view of the members of its configuration. The only file of this folder that others import. */
export * from "./inflights";
export * from "./progress";
export * from "./tracker_config";
export * from "./tracker";
