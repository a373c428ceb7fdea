/**
 * The pages for people against what there is: links lead somewhere, commands exist, the configuration in the README
 * is one that a member takes, its table lists the calls of the contract.
 */
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { MembershipServiceService } from "../../src/generated/muster/v1/membership_service";
import { checkFirstStart, CONFIG_KEYS, loadConfig } from "../../src/server/config";

const root = path.resolve(__dirname, "../..");
const read = (file: string): string => fs.readFileSync(path.join(root, file), "utf8");

const pages = [
  ...fs.readdirSync(root),
  ...fs
    .readdirSync(path.join(root, "docs"), { recursive: true, encoding: "utf8" })
    .map((name) => `docs/${name}`),
].filter((name) => name.endsWith(".md"));

/** Relative links of a page that lead nowhere. */
function brokenLinks(page: string, text: string): string[] {
  const targets = [...text.matchAll(/\]\(([^)#\s]+)[^)]*\)/g)].map((match) => match[1] ?? "");
  return targets
    .filter((target) => !/^[a-z]+:/.test(target))
    .filter((target) => !fs.existsSync(path.resolve(root, path.dirname(page), target)));
}

/** The fenced blocks of a language. */
function blocks(text: string, language: string): string[] {
  const found = text.matchAll(new RegExp(`\`\`\`${language}\n([\\s\\S]*?)\`\`\``, "g"));
  return [...found].map((match) => match[1] ?? "");
}

describe("every page", () => {
  it("links to what exists", () => {
    expect(brokenLinks("docs/x.md", "[a](architecture.md) [b](../nowhere.md) [c](https://grpc.io)")).toEqual([
      "../nowhere.md",
    ]);
    expect(pages.length).toBeGreaterThan(8);
    expect(
      pages.flatMap((page) => brokenLinks(page, read(page)).map((target) => `${page}: ${target}`)),
    ).toEqual([]);
  });

  it("names npm scripts that exist", () => {
    const { scripts } = JSON.parse(read("package.json")) as { scripts: Record<string, string> };
    const named = pages.flatMap((page) =>
      [...read(page).matchAll(/npm run ([a-z]+)/g)].map((match) => match[1] ?? ""),
    );
    expect(named).toContain("verify");
    expect(named.filter((name) => scripts[name] === undefined)).toEqual([]);
    const files = Object.values(scripts).map((script) => script.replace(/^node /, ""));
    expect(files.filter((file) => !fs.existsSync(path.join(root, file)))).toEqual([]);
  });
});

describe("the README", () => {
  const readme = read("README.md");

  it("shows configurations that a member takes, of a new cluster and of a joiner, with every key", () => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), "muster-readme-"));
    try {
      const texts = blocks(readme, "yaml");
      const configs = texts.map((text, i) => {
        const file = path.join(folder, `${String(i)}.yaml`);
        fs.writeFileSync(file, text);
        return loadConfig({ file, flags: {}, env: {} });
      });
      for (const config of configs) expect(() => checkFirstStart(config)).not.toThrow();
      expect(configs).toMatchObject([
        { name: "n1", heartbeatMs: 100, electionMs: 1000, initialClusterState: "new" },
        { name: "n4", initialClusterState: "existing", join: { target: "voter", replaceIfWiped: false } },
      ]);
      expect(CONFIG_KEYS.filter((key) => !texts.some((text) => `\n${text}`.includes(`\n${key}: `)))).toEqual(
        [],
      );
    } finally {
      fs.rmSync(folder, { recursive: true, force: true });
    }
  });

  it("lists every call of the contract", () => {
    const listed = [...readme.matchAll(/^\| `([A-Z]\w+)` \|/gm)].map((match) => match[1]);
    const calls = Object.values(MembershipServiceService).map((method) => method.path.split("/").at(-1));
    expect(listed.sort()).toEqual(calls.sort());
  });

  it("and the index of decisions lists every decision", () => {
    const decisions = fs
      .readdirSync(path.join(root, "docs/adr"))
      .filter((name) => /^(?!0000)\d{4}-/.test(name));
    const index = read("docs/adr/README.md");
    expect(decisions.filter((name) => !index.includes(`](${name})`))).toEqual([]);
    expect(decisions.length).toBeGreaterThan(0);
  });
});
