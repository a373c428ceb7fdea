/**
 * A jest reporter for scripts/test.js: leaves the run's totals as JSON in the file that MUSTER_TEST_TOTALS names.
 * A test file that does not load counts as one failure, since it has no tests that could.
 */
"use strict";
const fs = require("node:fs");

module.exports = class TotalsReporter {
  onRunComplete(_contexts, results) {
    const file = process.env.MUSTER_TEST_TOTALS;
    if (!file) return;
    const totals = {
      passed: results.numPassedTests,
      failed: results.numFailedTests + results.numRuntimeErrorTestSuites,
    };
    // Whoever watches for the file must not see half of it.
    fs.writeFileSync(`${file}.new`, JSON.stringify(totals));
    fs.renameSync(`${file}.new`, file);
  }
};
