/**
 * Our own interaction scripts hold, and the runner itself can fail.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { rewriteInteractionFile, runInteractionFile } from "./interaction";
import { main } from "./main";

const SCRIPTS = join(__dirname, "../raft/testdata");
const names = readdirSync(SCRIPTS).filter((name) => name.endsWith(".txt"));

describe("interaction scripts", () => {
  test("there are scripts", () => {
    expect(names.length).toBeGreaterThanOrEqual(15);
  });

  test.each(names)("%s", (name) => {
    expect(runInteractionFile(join(SCRIPTS, name))).toEqual({ passed: true });
  });
});

describe("the runner", () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), "interaction-"));
  });
  afterEach(() => {
    rmSync(dir, { recursive: true });
  });

  function script(text: string): string {
    const path = join(dir, "script.txt");
    writeFileSync(path, text);
    return path;
  }

  test("shows where the output first differs", () => {
    const path = script("add-nodes 1 voters=(1) index=2\n----\nok\n\nraft-state\n----\n1: StateLeader\n");
    const result = runInteractionFile(path);
    expect(result.passed).toBe(false);
    expect(result.firstDifference).toContain(":5: raft-state");
    expect(result.firstDifference).toContain("1: StateFollower (Voter) Term:0 Lead:0");
  });

  test("compares everything but log lines", () => {
    const passing = script("add-nodes 1 voters=(1) index=2\n----\nINFO whatever\nDEBUG it says\n");
    expect(runInteractionFile(passing).passed).toBe(true);
    const failing = script("add-nodes 1 voters=(1) index=2\n----\nINFORMATION\n");
    expect(runInteractionFile(failing).passed).toBe(false);
  });

  test("an unknown command is an error", () => {
    expect(() => runInteractionFile(script("frobnicate 1\n----\nok\n"))).toThrow(
      "unknown command frobnicate",
    );
  });

  test("rewriting fills in what is printed, and changes nothing else", () => {
    const path = script("# kept\nadd-nodes 1 voters=(1) index=2\n----\nwrong\n\nraft-state\n----\n\n# end\n");
    rewriteInteractionFile(path);
    const expected = [
      "# kept",
      "add-nodes 1 voters=(1) index=2",
      "----",
      "ok",
      "",
      "raft-state",
      "----",
      "1: StateFollower (Voter) Term:0 Lead:0",
      "",
      "# end",
      "",
    ];
    expect(readFileSync(path, "utf8")).toBe(expected.join("\n"));
    expect(runInteractionFile(path).passed).toBe(true);
  });

  describe("as a command", () => {
    let output: string[];
    beforeEach(() => {
      output = [];
      const keep = (text: string): void => {
        output.push(text);
      };
      jest.spyOn(console, "log").mockImplementation(keep);
      jest.spyOn(console, "error").mockImplementation(keep);
    });
    afterEach(() => {
      jest.restoreAllMocks();
    });

    test("counts scripts and ends with the totals", () => {
      writeFileSync(join(dir, "a.txt"), "add-nodes 1 voters=(1) index=2\n----\nok\n");
      writeFileSync(join(dir, "b.txt"), "nonsense\n----\nok\n");
      expect(main(["interaction", dir])).toBe(1);
      expect(output[0]).toBe("PASS a.txt");
      expect(output[1]).toBe("FAIL b.txt");
      expect(output.at(-1)).toBe("1 passed, 1 failed");
      rmSync(join(dir, "b.txt"));
      expect(main(["interaction", dir])).toBe(0);
      expect(output.at(-1)).toBe("1 passed, 0 failed");
    });

    test("a folder without scripts proves nothing", () => {
      expect(main(["quorum", dir])).toBe(1);
      expect(output.at(-1)).toBe("0 passed, 0 failed");
    });

    test("wrong usage", () => {
      expect(main([])).toBe(2);
      expect(main(["nosuch", dir])).toBe(2);
      expect(main(["quorum", dir, "--rewrite"])).toBe(2);
      expect(main(["interaction", join(dir, "absent")])).toBe(2);
    });
  });
});
