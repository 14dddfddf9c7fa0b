/** What a file is called beside its place before it takes it: reserved like its own name. */
export function temporaryName(name: string): string {
  return `.${name}.new`;
}
