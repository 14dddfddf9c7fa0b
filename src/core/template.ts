/**
 * Text with `{fact}` variables, for example `acme:web:{host}`. `{fact:40}` bounds
 * a part's length, `{{` and `}}` stand for a brace. Parsed when the configuration is read.
 */
import type { Facts } from './ports.ts';

type Variable = { readonly name: string; readonly maxLength: number };
export type Template = { readonly text: string; readonly parts: readonly (string | Variable)[] };

export type Rendered = { readonly value: string } | { readonly missing: string; readonly why: string };

/** Longest part where the template does not say (a DNS label, RFC 1035 section 2.3.4). */
const DEFAULT_PART_LENGTH = 63;
const SHORT_PARTS = new Map([
  ['unix.uid', 10],
  ['unix.gid', 10],
  ['unix.sha256', 64],
]);
/** Never occur inside a part of a subject, so that two identities never join to one string. */
const SEPARATORS = ':/|#,;';
const SUBJECT_PART = /^[!-~]+$/;
/** What every relying party takes (Google Cloud's google.subject is the shortest). */
export const SUBJECT_MAX_BYTES = 127;
const CLAIM_MAX_LENGTH = 1024;
const TOKEN = /\{\{|\}\}|\{([^{}]*)\}|[{}]|[^{}]+/g;
const VARIABLE = /^([a-z][A-Za-z0-9_.-]*)(?::([1-9][0-9]{0,3}))?$/;

/** Throws RangeError with a sentence for the operator. */
export function parseTemplate(text: string): Template {
  const parts: (string | Variable)[] = [];
  for (const [token, inner] of text.matchAll(TOKEN)) {
    if (token === '{{' || token === '}}') parts.push(token.slice(1));
    else if (inner !== undefined) parts.push(parseVariable(inner));
    else if (token === '{' || token === '}')
      throw new RangeError(`a lone "${token}": write ${token}${token} for a brace`);
    else parts.push(token);
  }
  return { text, parts };
}

function parseVariable(inner: string): Variable {
  const match = VARIABLE.exec(inner);
  if (match?.[1] === undefined)
    throw new RangeError(`{${inner}} is no variable: write {name} or {name:LENGTH}`);
  const name = match[1];
  const maxLength =
    match[2] === undefined ? (SHORT_PARTS.get(name) ?? DEFAULT_PART_LENGTH) : Number(match[2]);
  return { name, maxLength };
}

export function variablesOf(template: Template): readonly string[] {
  return template.parts.flatMap((part) => (typeof part === 'string' ? [] : [part.name]));
}

/**
 * What keeps a template from being a subject: it could be longer than 127 bytes,
 * or two identities could join to the same string. `known` are facts whose values
 * are certain already. Empty where it is sound.
 */
export function subjectProblems(template: Template, known: Facts): readonly string[] {
  const problems: string[] = [];
  let longest = 0;
  let afterVariable = false;
  for (const part of template.parts) {
    if (typeof part !== 'string' && part.name === 'unix.path')
      problems.push(`{${part.name}} always has a separator in it: put it into a claim`);
    const value = typeof part === 'string' ? part : factValue(known, part);
    if (value !== undefined) {
      longest += Buffer.byteLength(value);
      if (!SUBJECT_PART.test(value)) problems.push(`"${value}" has a character that is not printable ASCII`);
      if (typeof part !== 'string' && hasSeparator(value))
        problems.push(`{${part.name}} is "${value}", which has a separator in it`);
      else if (hasSeparator(value)) afterVariable = false;
      continue;
    }
    const variable = part as Variable;
    if (afterVariable)
      problems.push(`{${variable.name}} follows another part without one of ${SEPARATORS} between them`);
    longest += variable.maxLength;
    afterVariable = true;
  }
  if (longest === 0) problems.push('it is empty');
  if (longest > SUBJECT_MAX_BYTES)
    problems.push(
      `it could be ${longest} bytes long and ${SUBJECT_MAX_BYTES} is the most: bound a part, as in {name:40}`,
    );
  return problems;
}

/** The subject, or the part that is missing, too long or would make it ambiguous. */
export function renderSubject(template: Template, facts: Facts): Rendered {
  let value = '';
  for (const part of template.parts) {
    if (typeof part === 'string') {
      value += part;
      continue;
    }
    const fact = factValue(facts, part);
    if (fact === undefined) return { missing: part.name, why: 'was not proven of this caller' };
    if (fact.length > part.maxLength) return { missing: part.name, why: `is longer than ${part.maxLength}` };
    if (hasSeparator(fact) || !SUBJECT_PART.test(fact))
      return { missing: part.name, why: `has a character that a subject's part may not have` };
    value += fact;
  }
  return { value };
}

/** The text with its facts, or undefined where one of them was not proven. */
export function renderClaim(template: Template, facts: Facts): string | undefined {
  let value = '';
  for (const part of template.parts) {
    const piece = typeof part === 'string' ? part : factValue(facts, part);
    if (piece === undefined) return undefined;
    value += piece;
  }
  return value.length > CLAIM_MAX_LENGTH ? undefined : value;
}

/** Own facts only: `{constructor}` is none. */
function factValue(facts: Facts, { name }: Variable): string | undefined {
  return Object.hasOwn(facts, name) ? facts[name] : undefined;
}

function hasSeparator(text: string): boolean {
  for (const character of text) if (SEPARATORS.includes(character)) return true;
  return false;
}
