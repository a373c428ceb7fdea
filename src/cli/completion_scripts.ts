/**
 * The completion scripts: tables of a program's words, and for each shell the code that looks into them. Pure.
 *
 * Every script walks over the line to find at which command it is, so that the value of an option is taken for no command.
 */

/** One option. */
export interface OptionWords {
  /** "-y", "--yes". */
  readonly names: readonly string[];
  readonly description: string;
  readonly takesValue: boolean;
  /** Whether the value is a path. */
  readonly takesFile: boolean;
  /** The values, where only these are possible; else empty. */
  readonly values: readonly string[];
}

/** One command. */
export interface CommandWords {
  /** "" for the program, "member add". */
  readonly path: string;
  readonly commands: readonly { readonly name: string; readonly description: string }[];
  /** The values of its first argument, where only these are possible; else empty. */
  readonly values: readonly string[];
  /** Whether an argument is a path. */
  readonly takesFile: boolean;
  readonly options: readonly OptionWords[];
}

/** The words of a whole program. */
export interface ProgramWords {
  /** The program itself first. */
  readonly commands: readonly CommandWords[];
  /** Options that are taken at every command. */
  readonly options: readonly OptionWords[];
}

/** @param program its names hold letters, digits and hyphens only */
export function bashScript(program: ProgramWords): string {
  const list = (words: readonly string[]): string => `words='${words.join(" ")}'`;
  const files = "compopt -o default 2>/dev/null";
  return `# Completes the words of muster in bash. Made by: muster completion bash
_muster() {
  local cur=\${COMP_WORDS[COMP_CWORD]} at='' value='' words='' word i args=0
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=\${COMP_WORDS[i]}
    [[ $word == '=' ]] && continue
    if [[ -n $value ]]; then
      value=''
      continue
    fi
    case "$at|$word" in
${walkCases(program, "      ")}
      *'|'-*) ;;
      *) args=$((args + 1)) ;;
    esac
  done
  [[ $cur == '=' ]] && cur=''
  if [[ -n $value ]]; then
    case "$at|$value" in
${valueCases(program, "      ", list, files)}
    esac
  elif [[ $cur == -* ]]; then
    case $at in
${program.commands.map(({ path, options }) => `      '${path}') ${list(namesOf(options))} ;;`).join("\n")}
    esac
    words="$words ${namesOf(program.options).join(" ")}"
  else
    case "$at|$args" in
${argumentCases(program, "      ", list, files)}
    esac
  fi
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
}
complete -F _muster muster
`;
}

export function zshScript(program: ProgramWords): string {
  const list = (words: readonly string[]): string => `compadd -- ${words.join(" ")}`;
  const described = (words: readonly { name: string; description: string }[]): string =>
    words.map(({ name, description }) => quoted(`${name}:${description}`)).join(" ");
  const optionsOf = (options: readonly OptionWords[]): string =>
    described(options.flatMap(({ names, description }) => names.map((name) => ({ name, description }))));
  return `#compdef muster
# Completes the words of muster in zsh. Made by: muster completion zsh
_muster() {
  local at='' value='' word
  local -i i args=0
  local -a offers
  for ((i = 2; i < CURRENT; i++)); do
    word=\${words[i]}
    if [[ -n $value ]]; then
      value=''
      continue
    fi
    case "$at|$word" in
${walkCases(program, "      ")}
      *'|'-*) ;;
      *) args+=1 ;;
    esac
  done
  if [[ -n $value ]]; then
    case "$at|$value" in
${valueCases(program, "      ", list, "_files")}
    esac
  elif [[ \${words[CURRENT]} == -* ]]; then
    case $at in
${program.commands.map(({ path, options }) => `      '${path}') offers=(${optionsOf(options)}) ;;`).join("\n")}
    esac
    offers+=(${optionsOf(program.options)})
    _describe -o option offers
  else
    case $at in
${program.commands
  .filter(({ commands }) => commands.length > 0)
  .map(({ path, commands }) => `      '${path}') offers=(${described(commands)}) ;;`)
  .join("\n")}
    esac
    (( \${#offers} )) && _describe command offers
    case "$at|$args" in
${argumentCases({ ...program, commands: program.commands.map((words) => ({ ...words, commands: [] })) }, "      ", list, "_files")}
    esac
  fi
}
if [[ \${funcstack[1]} == _muster ]]; then
  _muster "$@"
else
  compdef _muster muster
fi
`;
}

export function fishScript(program: ProgramWords): string {
  return `# Completes the words of muster in fish. Made by: muster completion fish
function __muster_at --description 'whether the line is at this command'
    set -l at ''
    set -l value ''
    set -l words (commandline -opc)
    set -e words[1]
    for word in $words
        if test -n "$value"
            set value ''
            continue
        end
        switch "$at|$word"
${walkFish(program)}
        end
    end
    test "$at" = "$argv[1]"
end
complete -c muster -f
${fishLines(program).join("\n")}
`;
}

/** The step from one command to the next, and the options whose value follows; patterns of `case` in bash and zsh. */
function walkCases(program: ProgramWords, indent: string): string {
  const lines = steps(program).map(({ path, name, to }) => `${indent}'${path}|${name}') at='${to}' ;;`);
  const values = walkedOptions(program).map(({ path, name }) => pattern(path, name));
  return [...lines, `${indent}${values.join(" | ")}) value=$word ;;`].join("\n");
}

function walkFish(program: ProgramWords): string {
  const lines = steps(program).flatMap(({ path, name, to }) => [
    `            case '${path}|${name}'`,
    `                set at '${to}'`,
  ]);
  const values = walkedOptions(program).map(({ path, name }) => `'${path ?? "*"}|${name}'`);
  return [...lines, `            case ${values.join(" ")}`, "                set value $word"].join("\n");
}

/** @param path null: at every command */
function pattern(path: string | null, name: string): string {
  return path === null ? `*'|${name}'` : `'${path}|${name}'`;
}

function valueCases(
  program: ProgramWords,
  indent: string,
  list: (words: readonly string[]) => string,
  files: string,
): string {
  return valueOptions(program)
    .filter(({ option }) => option.takesFile || option.values.length > 0)
    .map(
      ({ path, name, option }) =>
        `${indent}${pattern(path, name)}) ${option.takesFile ? files : list(option.values)} ;;`,
    )
    .join("\n");
}

function argumentCases(
  { commands }: ProgramWords,
  indent: string,
  list: (words: readonly string[]) => string,
  files: string,
): string {
  return commands
    .flatMap(({ path, commands: subcommands, values, takesFile }) => {
      // Bash cuts an address at its colon, so that its parts look like arguments: commands are offered after any number.
      if (subcommands.length > 0)
        return [`${indent}'${path}|'*) ${list(subcommands.map(({ name }) => name))} ;;`];
      if (takesFile) return [`${indent}'${path}|'*) ${files} ;;`];
      return values.length === 0 ? [] : [`${indent}'${path}|0') ${list(values)} ;;`];
    })
    .join("\n");
}

function fishLines(program: ProgramWords): string[] {
  const optionLine = (option: OptionWords, condition: string): string => {
    const names = option.names.map((name) =>
      name.startsWith("--") ? `-l ${name.slice(2)}` : `-s ${name.slice(1)}`,
    );
    const exact = option.values.length > 0 ? ` -x -a '${option.values.join(" ")}'` : "";
    const value = option.takesFile ? " -r -F" : option.takesValue && exact === "" ? " -x" : exact;
    return `complete -c muster${condition} ${names.join(" ")}${value} -d ${fishQuoted(option.description)}`;
  };
  return [
    ...program.options.map((option) => optionLine(option, "")),
    ...program.commands.flatMap(({ path, commands, values, takesFile, options }) => {
      const condition = ` -n "__muster_at '${path}'"`;
      return [
        ...commands.map(
          ({ name, description }) =>
            `complete -c muster${condition} -a ${name} -d ${fishQuoted(description)}`,
        ),
        ...(values.length > 0 ? [`complete -c muster${condition} -a '${values.join(" ")}'`] : []),
        ...(takesFile ? [`complete -c muster${condition} -F`] : []),
        ...options.map((option) => optionLine(option, condition)),
      ];
    }),
  ];
}

/** From a command to one of its own. */
function steps({ commands }: ProgramWords): { path: string; name: string; to: string }[] {
  return commands.flatMap(({ path, commands: subcommands }) =>
    subcommands.map(({ name }) => ({ path, name, to: path === "" ? name : `${path} ${name}` })),
  );
}

interface ValueOption {
  /** Null: at every command. */
  readonly path: string | null;
  readonly name: string;
  readonly option: OptionWords;
}

/** The options that take a value, by name. Those of every command come last. */
function valueOptions({ commands, options }: ProgramWords): ValueOption[] {
  const at = (path: string | null, some: readonly OptionWords[]): ValueOption[] =>
    some
      .filter(({ takesValue }) => takesValue)
      .flatMap((option) => option.names.map((name) => ({ path, name, option })));
  return [...commands.flatMap((command) => at(command.path, command.options)), ...at(null, options)];
}

/** The same, each name once where it takes a value at every command that has it. */
function walkedOptions(program: ProgramWords): Omit<ValueOption, "option">[] {
  const without = new Set(
    program.commands.flatMap(({ options }) => namesOf(options.filter(({ takesValue }) => !takesValue))),
  );
  const all = valueOptions(program);
  const names = new Set(all.map(({ name }) => name).filter((name) => !without.has(name)));
  return [
    ...all.filter(({ name }) => without.has(name)),
    ...[...names].map((name) => ({ path: null, name })),
  ];
}

function namesOf(options: readonly OptionWords[]): string[] {
  return options.flatMap(({ names }) => names);
}

/** As one word of bash and zsh. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** As one word of fish. */
function fishQuoted(text: string): string {
  return `'${text.replace(/[\\']/g, "\\$&")}'`;
}
