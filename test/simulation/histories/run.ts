/** Entry point of the histories command; see main.ts. */
import { main } from "./main";

process.exitCode = main(process.argv.slice(2));
