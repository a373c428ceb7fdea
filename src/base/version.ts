/** The version in package.json: two folders up from src/server as from dist/server. */
import { readFileSync } from "node:fs";
import { join } from "node:path";

const { version } = JSON.parse(readFileSync(join(__dirname, "../../package.json"), "utf8")) as {
  version: string;
};

export const VERSION: string = version;
