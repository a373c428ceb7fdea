/** `muster completion`: the scripts hold every command and option, and what bash offers with its one. */
import { spawnSync } from "node:child_process";
import { muster } from "./support/harness";

async function script(shell: string): Promise<string> {
  const { code, out, err } = await muster(["completion", shell]);
  expect([code, err]).toEqual([0, ""]);
  return out;
}

/** What bash offers for the last of the words. */
function offers(text: string, words: readonly string[]): string[] {
  const run = `${text}
COMP_WORDS=("$@"); COMP_CWORD=$((\${#COMP_WORDS[@]} - 1)); _muster; printf '%s\\n' "\${COMPREPLY[@]}"`;
  const { stdout, stderr } = spawnSync("bash", ["-c", run, "bash", "muster", ...words], { encoding: "utf8" });
  expect(stderr).toBe("");
  return stdout.split("\n").filter((line) => line !== "");
}

test("the script for bash is one, and offers what there is at each place", async () => {
  const text = await script("bash");
  expect(spawnSync("bash", ["-n"], { input: text, encoding: "utf8" })).toMatchObject({
    status: 0,
    stderr: "",
  });
  const cases: [string[], string[]][] = [
    [["mem"], ["member", "members"]],
    [["settings", ""], ["set"]],
    [
      ["settings", "set", ""],
      ["auto-promote", "standby-takeover-after", "remove-unstarted-after"],
    ],
    [["settings", "set", "auto-promote", ""], []],
    [["member", "pro"], ["promote"]],
    [["member", "add", "n4", "--ta"], ["--target"]],
    [
      ["member", "add", "n4", "--target", ""],
      ["voter", "learner", "standby"],
    ],
    [["member", "add", "n4", "--target", "=", "le"], ["learner"]],
    [
      ["member", "replace", "n1", "-"],
      expect.arrayContaining(["--wait", "--yes", "-y", "--timeout"]) as string[],
    ],
    // The value of an option is no command; bash cuts an address at its colon.
    [
      ["--endpoints", "member", "wa"],
      ["watch", "wal"],
    ],
    [["--endpoints", "127.0.0.1", ":", "7460", "member", "li"], ["list"]],
    [["member", "remove", "add", "--t"], ["--timeout"]],
    [
      ["completion", ""],
      ["bash", "zsh", "fish"],
    ],
    [
      ["cluster", "--output", ""],
      ["table", "json"],
    ],
    [["wal", "inspect", ""], []],
    [["nonsense", "--q"], []],
  ];
  for (const [words, wanted] of cases) expect([words, offers(text, words)]).toEqual([words, wanted]);
});

test("the script for zsh has descriptions, with quotes that hold", async () => {
  const text = await script("zsh");
  expect(text).toMatch(/^#compdef muster\n/);
  expect(text).toContain("'replace:put a new member in the place of an old one");
  expect(text).toContain("'--id:the member'\\''s id, instead of its name or beside it'");
  // What is quoted as for bash reads there as one word each.
  const [, offered = ""] = /'member'\) offers=\(('list:.*)\) ;;\n/.exec(text) ?? [];
  const words = spawnSync("bash", ["-c", `printf '%s\\n' ${offered}`], { encoding: "utf8" }).stdout.split(
    "\n",
  );
  expect(words).toContain("update:change a member's peer URL, or its admin URLs");
});

test("the script for fish has every command under its condition, and options with their values", async () => {
  const text = await script("fish");
  const lines = text.split("\n");
  expect(lines).toEqual(
    expect.arrayContaining([
      "complete -c muster -f",
      "complete -c muster -l output -x -a 'table json' -d 'output format'",
      "complete -c muster -n \"__muster_at 'member'\" -a remove -d 'remove a member for good'",
      "complete -c muster -n \"__muster_at 'wal verify'\" -F",
      "complete -c muster -n \"__muster_at 'settings set'\" -a 'auto-promote standby-takeover-after remove-unstarted-after'",
    ]),
  );
  expect(text).toContain("-n \"__muster_at 'member update'\" -l id -x -d 'the member\\'s id, instead");
  expect(text).toContain(" -s y -l yes -d ");
});

test.each([
  [[], "missing required argument 'shell'"],
  [["tcsh"], "Allowed choices are bash, zsh, fish"],
  [["bash", "--timeout", "5"], "--timeout has no meaning for `muster completion`"],
])("completion %j is exit code 2", async (words, text) => {
  const { code, err } = await muster(["completion", ...words]);
  expect(code).toBe(2);
  expect(err).toContain(text);
});
