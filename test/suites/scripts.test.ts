/**
 * The parts of scripts/ and bench/ that decide what a run reports: totals, and the figures of a table.
 */
import { spawnSync } from "node:child_process";
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { closedLoop } from "../../bench/client";
import { figure, median, table } from "../../bench/table";

const root = path.resolve(__dirname, "../..");

/** Runs a few lines with the scripts' tools. */
function runWithTools(body: string): { readonly status: number | null; readonly stdout: string } {
  const code = `const tools = require("./scripts/tools"); (async () => { ${body} })();`;
  return spawnSync(process.execPath, ["-e", code], { cwd: root, encoding: "utf8" });
}

describe("totals", () => {
  it.each([
    ["a\n12 passed, 3 failed\n", { passed: 12, failed: 3 }],
    ["12 passed, 3 failed\n\n", { passed: 12, failed: 3 }],
    ["12 passed, 3 failed\nmore\n", null],
    ["Tests: 12 passed, 3 failed\n", null],
    ["", null],
  ])("%j holds %j", (output, totals) => {
    const { stdout } = runWithTools(
      `console.log(JSON.stringify(tools.parseTotals(${JSON.stringify(output)})))`,
    );
    expect(JSON.parse(stdout)).toEqual(totals);
  });

  it.each([
    [5, 0, 0],
    [5, 1, 1],
    [0, 0, 1],
  ])("%i passed and %i failed exit with %i", (passed, failed, status) => {
    const result = runWithTools(`tools.finish({ passed: ${passed}, failed: ${failed} })`);
    expect(result).toMatchObject({ status, stdout: `${passed} passed, ${failed} failed\n` });
  });

  it("a step over its limit is ended with all that it started", () => {
    // The grandchild shares the output and never ends: only its end lets the step end with an output.
    const { stdout } = runWithTools(`
      const idle = "setInterval(() => {}, 1000);";
      const script = "require('node:child_process').spawn(process.execPath, ['-e', '" + idle + "'], { stdio: 'inherit' });" + idle;
      const startedMs = performance.now();
      const { code, timedOut } = await tools.run(process.execPath, ["-e", script], { quiet: true, limitMs: 500 });
      // Well below the grace for output that stays open.
      const closed = performance.now() - startedMs < 4000;
      console.log(JSON.stringify({ code, timedOut, closed }));
      process.exit();`);
    expect(JSON.parse(stdout)).toEqual({ code: 124, timedOut: true, closed: true });
  });
});

describe("--scale", () => {
  const scale = (expression: string): unknown => {
    const code = `const s = require("./scripts/scale"); console.log(JSON.stringify(${expression}))`;
    const { status, stdout } = spawnSync(process.execPath, ["-e", code], { cwd: root, encoding: "utf8" });
    return status === 0 ? (JSON.parse(stdout) as unknown) : "refused";
  };

  it("is taken out of the arguments", () => {
    expect(
      scale('(() => { const a = ["x", "--scale", "0.5", "y"]; return [s.takeScale(a), a]; })()'),
    ).toEqual([0.5, ["x", "y"]]);
    expect(scale("s.takeScale([])")).toBe(1);
    for (const text of ["0", "-1", "x", ""])
      expect(scale(`s.takeScale(["--scale", "${text}"])`)).toBe("refused");
  });

  it("multiplies amounts, and ranges of seeds from their first one on", () => {
    expect(scale("[s.scaled(200, 0.25), s.scaled(10, 0.001)]")).toEqual([50, 1]);
    expect(scale('[s.scaledSeeds("1..100", 0.1), s.scaledSeeds("7..8", 3), s.scaledSeeds("9", 2)]')).toEqual([
      "1..10",
      "7..12",
      "9",
    ]);
  });
});

describe("the totals reporter", () => {
  it("counts a test file that does not load as a failure", () => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), "muster-reporter-"));
    try {
      const file = path.join(folder, "totals");
      const results = { numPassedTests: 4, numFailedTests: 1, numRuntimeErrorTestSuites: 2 };
      const code = `new (require("./test/reporter.js"))().onRunComplete(null, ${JSON.stringify(results)})`;
      const env = { ...process.env, MUSTER_TEST_TOTALS: file };
      expect(spawnSync(process.execPath, ["-e", code], { cwd: root, env }).status).toBe(0);
      expect(JSON.parse(fs.readFileSync(file, "utf8"))).toEqual({ passed: 4, failed: 3 });
    } finally {
      fs.rmSync(folder, { recursive: true, force: true });
    }
  });
});

describe("benchmark figures", () => {
  it("takes medians", () => {
    expect(median([3, 1, 2])).toBe(2);
    expect(median([4, 1, 2, 3])).toBe(2.5);
    expect(median([])).toBeNaN();
  });

  it("prints three significant digits and aligns columns", () => {
    expect([12345.6, 100, 99.94, 0.01234, NaN].map(figure)).toEqual(["12,346", "100", "99.9", "0.0123", "-"]);
    expect(
      table(
        ["row", "n"],
        [
          ["a", "1"],
          ["long", "1,000"],
        ],
      ),
    ).toBe(["row       n", "----  -----", "a         1", "long  1,000"].join("\n"));
  });

  it("counts answers and errors of a closed loop, never more in flight than asked", async () => {
    let [inFlight, inFlightMax, calls] = [0, 0, 0];
    const result = await closedLoop(4, 0.05, 0, async () => {
      inFlightMax = Math.max(inFlightMax, ++inFlight);
      await new Promise(setImmediate);
      inFlight -= 1;
      if (calls++ === 0) throw new Error("refused");
    });
    expect(inFlightMax).toBe(4);
    expect(result).toMatchObject({ errors: 1, firstError: "refused" });
    // The last answers may come after the end and are not counted.
    expect(Math.round(result.callsPerSecond * 0.05)).toBeGreaterThan(0);
    expect(Math.round(result.callsPerSecond * 0.05)).toBeLessThan(calls);
  });

  it("gives up on a loop in which every call fails", async () => {
    let calls = 0;
    const result = await closedLoop(2, 600, 0, () => {
      calls += 1;
      return Promise.reject(new Error("down"));
    });
    expect(calls).toBe(200);
    expect(result).toMatchObject({ errors: 200, callsPerSecond: 0 });
  });
});
