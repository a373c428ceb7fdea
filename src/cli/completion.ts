/**
 * `muster completion bash|zsh|fish`: a script that completes commands, options and their values, made from the commands as
 * they are declared. The script is static: it calls nothing.
 */
import { Argument } from "commander";
import type { Command, Option } from "commander";
import { bashScript, fishScript, zshScript } from "./completion_scripts";
import type { CommandWords, OptionWords, ProgramWords } from "./completion_scripts";
import type { Io } from "./io";
import { refuseClientOptions } from "./options";

const SCRIPTS = { bash: bashScript, zsh: zshScript, fish: fishScript } as const;

const HELP = `
To load it whenever a shell starts:
  bash  echo 'source <(muster completion bash)' >> ~/.bashrc
  zsh   muster completion zsh > "\${fpath[1]}/_muster"
  fish  muster completion fish > ~/.config/fish/completions/muster.fish`;

/** Names of arguments, and of values of options, that are paths. */
const PATHS: ReadonlySet<string> = new Set(["file", "dir", "dirs"]);

/** Adds the `completion` command to the program. */
export function addCompletionCommand(program: Command, io: Io): void {
  program
    .command("completion")
    .description("print the script by which a shell completes the words of this command")
    .addArgument(new Argument("<shell>", "which one").choices(Object.keys(SCRIPTS)))
    .addHelpText("after", HELP)
    .action((shell: keyof typeof SCRIPTS, _options: object, command: Command) => {
      refuseClientOptions(command, program);
      io.stdout.write(SCRIPTS[shell](programWords(program)));
    });
}

function programWords(program: Command): ProgramWords {
  const help = program.createHelp();
  // The version is asked of the program alone; the rest is taken at every command.
  const shared = program.options.filter(({ long }) => long !== "--version");
  const isShared = ({ long }: Option): boolean => shared.some((option) => option.long === long);
  const wordsOf = (command: Command, path: string): CommandWords[] => {
    const at = (name: string): string => (path === "" ? name : `${path} ${name}`);
    const words = {
      path,
      commands: help
        .visibleCommands(command)
        .map((sub) => ({ name: sub.name(), description: sub.description() })),
      values: command.registeredArguments[0]?.argChoices ?? [],
      takesFile: command.registeredArguments.some((argument) => PATHS.has(argument.name())),
      options: help
        .visibleOptions(command)
        .filter((option) => !isShared(option))
        .map(optionWords),
    };
    return [words, ...command.commands.flatMap((sub) => wordsOf(sub, at(sub.name())))];
  };
  return { commands: wordsOf(program, ""), options: shared.map(optionWords) };
}

function optionWords({
  short,
  long,
  flags,
  description,
  required,
  optional,
  argChoices,
}: Option): OptionWords {
  return {
    names: [short, long].filter((name) => name !== undefined),
    description,
    takesValue: required || optional,
    takesFile: PATHS.has(/<(\w+)>/.exec(flags)?.[1] ?? ""),
    values: argChoices ?? [],
  };
}
