/** What a client asks for, in words, and whether it may have it. */
import { type Html, html } from '../html.ts';
import type { Page } from '../page.ts';
import { type ClientName, clientName, hidden } from './parts.ts';

export type Asked = {
  /** Where the scopes are of; absent: this server itself. */
  readonly resource?: string | undefined;
  readonly scopes: readonly string[];
};

export type ConsentPage = {
  readonly client: ClientName & {
    readonly uri?: string | undefined;
    readonly policyUri?: string | undefined;
    readonly tosUri?: string | undefined;
  };
  readonly path: string;
  readonly csrf: string;
  /** Who is signed in. */
  readonly person: string;
  readonly asked: readonly Asked[];
  /** The host that the browser goes to afterwards. */
  readonly returnsTo?: string | undefined;
  readonly words: Readonly<Record<string, string>>;
  readonly formAction: readonly string[];
};

const WORDS: Readonly<Record<string, string>> = {
  openid: 'Know who you are when you sign in',
  profile: 'See your name and profile',
  email: 'See your e-mail address',
  phone: 'See your phone number',
  address: 'See your postal address',
  offline_access: 'Keep this access while you are not signed in',
};

export function consentPage(given: ConsentPage): Page {
  const { client, path, csrf, person, returnsTo, formAction } = given;
  return {
    title: 'Allow access',
    formAction,
    body: html`<h1>Allow access?</h1>
<p class="lead">${clientName(client)} asks for access to your account <strong><bdi>${person}</bdi></strong>.</p>
${askedLists(given)}
${links(client)}
${returnsTo !== undefined && html`<p class="note">Afterwards you go to <bdi>${returnsTo}</bdi>.</p>`}
<form method="post" action="${path}/consent">
${hidden('csrf', csrf)}
<button type="submit" name="decision" value="allow">Allow</button>
<button type="submit" name="decision" value="deny" class="second">Deny</button>
</form>`,
  };
}

function askedLists({ asked, words }: ConsentPage): Html {
  if (asked.every(({ scopes }) => scopes.length === 0))
    return html`<p>It asks for nothing new, only that you go on.</p>`;
  return html`<p>It would be able to:</p>
${asked.map(({ resource, scopes }) => {
  const items = scopes.map((scope) => html`<li>${inWords(scope, words)}</li>\n`);
  const heading = resource !== undefined && html`<h2>At <bdi>${resource}</bdi></h2>`;
  return html`${heading}
<ul class="scopes">
${items}</ul>`;
})}`;
}

function inWords(scope: string, words: Readonly<Record<string, string>>): Html {
  const known = Object.hasOwn(words, scope) ? words[scope] : Object.hasOwn(WORDS, scope) && WORDS[scope];
  return known === undefined || known === false ? html`Use <code><bdi>${scope}</bdi></code>` : html`${known}`;
}

function links({ uri, policyUri, tosUri }: ConsentPage['client']): Html | undefined {
  const shown = [
    [uri, 'Website'],
    [policyUri, 'Privacy policy'],
    [tosUri, 'Terms of service'],
  ].flatMap(([href, text]) =>
    href !== undefined && /^https?:\/\//.test(href)
      ? [html`<a href="${href}" rel="noreferrer">${text}</a> `]
      : [],
  );
  return shown.length === 0 ? undefined : html`<p class="note">${shown}</p>`;
}
