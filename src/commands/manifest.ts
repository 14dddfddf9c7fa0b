/** Kubernetes manifests as text: YAML or JSON, of which only what is injected changes. */
import {
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  type Node,
  type Pair,
  parseAllDocuments,
  type ScalarTag,
  type Tags,
  visit,
  type YAMLMap,
} from 'yaml';
import type { Operation } from '../injection/patch.ts';
import { type Place, podTemplates } from '../injection/workloads.ts';
import { CommandError } from './command.ts';

export type Manifest = { readonly text: string; readonly documents: readonly Document.Parsed[] };

/** What becomes of a pod; none: it stays as it is. Throws with the reason. */
export type Change = (template: ReturnType<typeof podTemplates>[number]) => readonly Operation[];

/** Throws CommandError with the line where it is no YAML. */
export function parseManifest(text: string, name: string): Manifest {
  const documents = [...parseAllDocuments(text, OPTIONS)] as Document.Parsed[];
  const fault = documents.flatMap(({ errors }) => errors)[0];
  if (fault !== undefined)
    throw new CommandError(
      `${name}:${fault.linePos?.[0].line ?? 1}: is no YAML: ${fault.message.split(/ at line|\n/)[0]}`,
    );
  return { text, documents };
}

/** The values of the documents, without those that are empty. Throws CommandError. */
export function valuesOf({ documents }: Manifest, name: string): readonly unknown[] {
  return documents.map((document) => valueOfDocument(document, name)).filter((value) => value !== null);
}

function valueOfDocument(document: Document, name: string): unknown {
  try {
    const value: unknown = document.toJS();
    JSON.stringify(value); // throws where an alias contains itself
    return value;
  } catch (error) {
    if (error instanceof TypeError)
      throw new CommandError(`${name}: is no manifest: an alias (*name) stands within what it stands for`);
    throw new CommandError(`${name}: is no YAML: ${(error as Error).message.split('\n')[0]}`);
  }
}

/** Changes the documents; throws CommandError with every refusal. Whether anything has changed, for each document. */
export function changeManifest({ documents }: Manifest, name: string, change: Change): readonly boolean[] {
  const refusals: string[] = [];
  const changed = documents.map((document) => {
    const operations = podTemplates(valueOfDocument(document, name)).flatMap((template) => {
      try {
        return change(template).map((operation) => ({ place: template.place, operation }));
      } catch (error) {
        const { detail, message } = error as Error & { readonly detail?: string };
        refusals.push(`${name}: ${template.owner}: ${detail ?? message}`);
        return [];
      }
    });
    if (operations.length > 0) writeOut(document);
    for (const { place, operation } of operations) apply(document, place, operation);
    return operations.length > 0;
  });
  if (refusals.length > 0) throw new CommandError(refusals.join('\n'));
  return changed;
}

/** Documents that have not changed are as they were, to the last blank. */
export function formatManifest({ text, documents }: Manifest, changed: readonly boolean[]): string {
  if (documents.length === 0) return text;
  const style = {
    lineWidth: 0,
    indentSeq: !/^( *)[^\s#-][^\n]*:[ \t]*\n\1- /m.test(text),
    flowCollectionPadding: !/[{[][^\s{[\]}]/.test(text),
  };
  let start = 0;
  const parts = documents.map((document, index) => {
    const end = index === documents.length - 1 ? text.length : document.range[2];
    const before = text.slice(start, end);
    start = end;
    return changed[index] === true ? document.toString(style) : before;
  });
  return parts.map((part) => (part === '' || part.endsWith('\n') ? part : `${part}\n`)).join('');
}

function apply(document: Document, place: Place, operation: Operation): void {
  const keys = operation.path
    .split('/')
    .slice(1)
    .map((key) => key.replaceAll('~1', '/').replaceAll('~0', '~'));
  const path = [...place, ...keys].map((key, index, all) =>
    isSeq(document.getIn(all.slice(0, index), true)) ? Number(key) : key,
  );
  if (operation.op === 'remove') return void document.deleteIn(path);
  const node = document.createNode(operation.value);
  const parent = document.getIn(path.slice(0, -1), true);
  if (operation.op === 'add' && isSeq(parent)) parent.items.splice(Number(path.at(-1)), 0, node);
  else document.setIn(path, node);
}

/** Aliases and merge keys become what they stand for: a change at one place must not change others. */
function writeOut(document: Document): void {
  visit(document, {
    Alias(_, alias) {
      const copy = alias.resolve(document)?.clone() as Node | undefined;
      if (copy !== undefined && !isAlias(copy)) delete copy.anchor;
      return copy;
    },
  });
  visit(document, {
    Node(_, node) {
      if (!isAlias(node)) delete node.anchor;
      if (isMap(node)) node.items = mergedPairs(node);
    },
  });
}

function mergedPairs(map: YAMLMap): Pair[] {
  const own = map.items.filter((pair) => !isMergeKey(pair));
  const names = new Set(own.map(nameOf));
  const merged = map.items.filter(isMergeKey).flatMap(({ value }) => {
    const sources = isSeq(value) ? value.items : [value];
    return sources.flatMap((source) => (isMap(source) ? mergedPairs(source) : []));
  });
  for (const pair of merged) {
    if (names.has(nameOf(pair))) continue;
    names.add(nameOf(pair));
    own.push(pair);
  }
  return own;
}

function isMergeKey({ key }: Pair): boolean {
  return isScalar(key) && (key.value === '<<' || typeof key.value === 'symbol');
}

function nameOf({ key }: Pair): unknown {
  return isScalar(key) ? key.value : key;
}

/** What kubectl's YAML reads otherwise than YAML 1.2 does: file modes such as 0644, and more words for true and false. */
const OCTAL: ScalarTag = {
  tag: 'tag:yaml.org,2002:int',
  default: true,
  test: /^[-+]?0[0-7]+$/,
  resolve: (text) => Number.parseInt(text, 8),
  stringify: ({ source, value }) => source ?? String(value),
};
const WORD: ScalarTag = {
  tag: 'tag:yaml.org,2002:bool',
  default: true,
  test: /^(?:[yYnN]|[Yy]es|YES|[Nn]o|NO|[Oo]n|ON|[Oo]ff|OFF)$/,
  resolve: (text) => /^(?:y|yes|on)$/i.test(text),
  stringify: ({ source, value }) => source ?? String(value),
};

/** Numbers and words stay as they were written. */
const customTags = (tags: Tags): Tags => [
  OCTAL,
  WORD,
  ...tags.map((tag) => (typeof tag === 'object' && WRITTEN.has(tag.tag) ? asWritten(tag) : tag)),
];

const WRITTEN = new Set(['int', 'float', 'bool'].map((type) => `tag:yaml.org,2002:${type}`));

function asWritten<T extends { stringify?: ScalarTag['stringify'] | unknown }>(tag: T): T {
  const usual = tag.stringify as ScalarTag['stringify'];
  const stringify: ScalarTag['stringify'] = (item, ...rest) =>
    item.source ?? usual?.(item, ...rest) ?? String(item.value);
  return { ...tag, stringify };
}

const OPTIONS = {
  version: '1.2',
  schema: 'core',
  merge: true,
  // New texts that a reader of YAML 1.1 would take for something else are quoted.
  compat: 'yaml-1.1',
  customTags,
  prettyErrors: true,
} as const;
