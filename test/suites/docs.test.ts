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

/** The first fenced block of a language. */
function block(text: string, language: string): string {
  return new RegExp(`\`\`\`${language}\n([\\s\\S]*?)\`\`\``).exec(text)?.[1] ?? "";
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

  it("shows a configuration that a member takes, with every key", () => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), "muster-readme-"));
    try {
      const text = block(readme, "yaml");
      const file = path.join(folder, "node.yaml");
      fs.writeFileSync(file, text);
      const config = loadConfig({ file, flags: {}, env: {} });
      expect(() => checkFirstStart(config)).not.toThrow();
      expect(config).toMatchObject({
        name: "n1",
        heartbeatMs: 100,
        electionMs: 1000,
        initialClusterState: "new",
      });
      expect(
        CONFIG_KEYS.filter((key) => !text.includes(`\n${key}: `) && !text.startsWith(`${key}: `)),
      ).toEqual([]);
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
