import { type Command, CommandError, EXIT } from './command.ts';
import { commands } from './index.ts';

export const command: Command = {
  summary: 'Print a completion script for bash, zsh or fish',
  usage: 'bash | zsh | fish',
  details:
    'bash: source <(mintmark completion bash)\nzsh:  source <(mintmark completion zsh)\nfish: mintmark completion fish | source',
  words: { bash: 0, zsh: 0, fish: 0 },
  options: {},
  async run({ io, words }) {
    const [shell = ''] = words;
    const write = SHELLS[shell as keyof typeof SHELLS];
    if (write === undefined)
      throw new CommandError('mintmark completion needs bash, zsh or fish', EXIT.usage);
    io.write(write(await candidates()));
    return EXIT.ok;
  },
};

type Candidates = ReadonlyMap<string, readonly string[]>;

/** Command → the words and options that may follow. */
async function candidates(): Promise<Candidates> {
  const entries = Object.entries(commands).map(async ([name, load]) => {
    const { words = {}, options } = (await load()).command as Command;
    return [
      name,
      [...Object.keys(words), ...Object.keys(options).map((option) => `--${option}`), '--help'],
    ] as const;
  });
  return new Map(await Promise.all(entries));
}

const SHELLS = {
  bash,
  zsh: (all: Candidates) => `autoload -U +X bashcompinit && bashcompinit\n${bash(all)}`,
  fish,
};

function bash(all: Candidates): string {
  const cases = [...all].map(([name, words]) => `    ${name}) words="${words.join(' ')}" ;;`);
  return `_mintmark() {
  local words="${[...all.keys()].join(' ')} --help --version"
  if [ "$COMP_CWORD" -gt 1 ]; then case "\${COMP_WORDS[1]}" in
${cases.join('\n')}
  esac; fi
  COMPREPLY=($(compgen -W "$words" -- "\${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _mintmark mintmark
`;
}

function fish(all: Candidates): string {
  const names = [...all.keys()];
  const lines = [`complete -c mintmark -f -n __fish_use_subcommand -a "${names.join(' ')}"`];
  for (const [name, words] of all)
    lines.push(`complete -c mintmark -n "__fish_seen_subcommand_from ${name}" -a "${words.join(' ')}"`);
  return `${lines.join('\n')}\n`;
}
