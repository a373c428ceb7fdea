/** Entry point of a worker process. Loads the sources with a planted bug, if one is given. */
"use strict";
const name = process.env.MUSTER_SIM_PLANT ?? "";
if (name !== "") require("./plants/loader.ts").plantInLoader(name);
require("./worker.ts");
