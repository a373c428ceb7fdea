/** The version in package.json, which is two folders above src/base as well as above dist/base. */
import { readFileSync } from "node:fs";
import { join } from "node:path";

const { version } = JSON.parse(readFileSync(join(__dirname, "../../package.json"), "utf8")) as {
  version: string;
};

export const VERSION: string = version;
