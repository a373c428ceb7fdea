/** Entry point of a worker: puts a planted bug into the sources as they are loaded, when there is one to plant. */
"use strict";
const name = process.env.MUSTER_SIM_PLANT ?? "";
if (name !== "") require("./plants/loader.ts").plantInLoader(name);
require("./worker.ts");
