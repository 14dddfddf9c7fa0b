/** A rule's claims: constants and templates, and AWS's two of their own. */
import type { ClaimSet, Facts, TokenRequest } from './ports.ts';
import { renderClaim, type Template, variablesOf } from './template.ts';

/** https://docs.aws.amazon.com/IAM/latest/UserGuide/id_session-tags.html */
const AWS_TAGS = 'https://aws.amazon.com/tags';
const AWS_SOURCE_IDENTITY = 'https://aws.amazon.com/source_identity';

/** Undefined where a fact in it was not proven: the claim is then left out, never guessed. */
type Render = (facts: Facts) => unknown;
type ParseText = (path: string, text: string) => Template;

export type ClaimSources = {
  readonly claims: Readonly<Record<string, unknown>>;
  readonly principalTags?: Readonly<Record<string, string>> | undefined;
  readonly transitiveTags?: readonly string[] | undefined;
  readonly sourceIdentity?: string | undefined;
};

export type ClaimTemplates = {
  readonly variables: readonly string[];
  readonly render: (facts: Facts) => ClaimSet;
  readonly renderTags: ((facts: Facts) => ClaimSet) | undefined;
};

/** `parseText` gets each text with its path in the rule. */
export function compileClaims(sources: ClaimSources, parseText: ParseText): ClaimTemplates {
  const variables: string[] = [];
  const parse: ParseText = (path, text) => {
    const template = parseText(path, text);
    variables.push(...variablesOf(template));
    return template;
  };
  const fields = Object.entries(sources.claims).map(
    ([name, value]) => [name, compileValue(value, `claims.${name}`, parse)] as const,
  );
  // In every token, unlike tags: a caller could hide who its session is.
  if (sources.sourceIdentity !== undefined)
    fields.push([AWS_SOURCE_IDENTITY, compileValue(sources.sourceIdentity, 'sourceIdentity', parse)]);
  const render = (facts: Facts) => renderFields(fields, facts);
  const constant = variables.length === 0 ? render({}) : undefined;
  return {
    render: constant === undefined ? render : () => constant,
    renderTags: compileTags(sources, parse),
    variables,
  };
}

function compileValue(value: unknown, path: string, parse: ParseText): Render {
  if (typeof value === 'string') {
    const template = parse(path, value);
    return (facts) => renderClaim(template, facts);
  }
  if (Array.isArray(value)) {
    const items = value.map((item, index) => compileValue(item, `${path}[${index}]`, parse));
    return (facts) => items.map((item) => item(facts)).filter((item) => item !== undefined);
  }
  if (typeof value !== 'object' || value === null) return () => value;
  const fields = Object.entries(value).map(
    ([key, item]) => [key, compileValue(item, `${path}.${key}`, parse)] as const,
  );
  return (facts) => renderFields(fields, facts);
}

function renderFields(fields: readonly (readonly [string, Render])[], facts: Facts): ClaimSet {
  const rendered = fields.map(([name, render]) => [name, render(facts)] as const);
  return Object.fromEntries(rendered.filter(([, value]) => value !== undefined));
}

function compileTags(sources: ClaimSources, parse: ParseText): ClaimTemplates['renderTags'] {
  const tags = Object.entries(sources.principalTags ?? {});
  if (tags.length === 0) return undefined;
  const fields = tags.map(([key, text]) => {
    const template = parse(`principalTags.${key}`, text);
    const render: Render = (facts) => {
      const value = renderClaim(template, facts);
      return value === undefined ? undefined : [value];
    };
    return [key, render] as const;
  });
  return (facts) => renderFields(fields, facts);
}

/** The claims that the rule and the door add; undefined where tags are asked for and there are none. */
export function renderClaims(
  compiled: ClaimTemplates,
  transitiveTags: readonly string[] | undefined,
  request: TokenRequest,
  facts: Facts,
): ClaimSet | undefined {
  const plain = compiled.render(facts);
  const claims = request.claims === undefined ? plain : { ...request.claims, ...plain };
  if (request.principalTags !== true) return claims;
  const tags = compiled.renderTags === undefined ? tagsOfDoor(request) : compiled.renderTags(facts);
  if (tags === undefined || Object.keys(tags).length === 0) return undefined;
  const transitive = (transitiveTags ?? []).filter((key) => Object.hasOwn(tags, key)); // AWS takes no others
  return { ...claims, [AWS_TAGS]: { principal_tags: tags, transitive_tag_keys: transitive } };
}

/** Fly's tags are the strings of its own claim set. */
function tagsOfDoor({ claims }: TokenRequest): ClaimSet | undefined {
  const strings = Object.entries(claims ?? {}).filter(([, value]) => typeof value === 'string');
  return strings.length === 0 ? undefined : Object.fromEntries(strings.map(([key, value]) => [key, [value]]));
}
