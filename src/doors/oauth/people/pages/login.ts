/** The pages of a login: the password form with the other ways beside it, and the one-time code. */
import { type Html, html } from '../html.ts';
import type { Page } from '../page.ts';
import { type ClientName, clientName, field, hidden, problemBox } from './parts.ts';

type Shared = {
  readonly client: ClientName;
  /** The path of this interaction. */
  readonly path: string;
  readonly csrf: string;
  readonly problem?: string | undefined;
  readonly formAction: readonly string[];
};

export type Way = { readonly name: string; readonly title: string };

export type LoginPage = Shared & {
  readonly hasPassword: boolean;
  readonly ways: readonly Way[];
  readonly username?: string | undefined;
  /** Why somebody who has logged in before is asked again. */
  readonly reason?: string | undefined;
};

export function loginPage(given: LoginPage): Page {
  const { client, problem, reason, hasPassword, ways, formAction } = given;
  return {
    title: 'Sign in',
    isWrong: problem !== undefined,
    formAction,
    body: html`<h1>Sign in</h1>
<p class="lead">to continue to ${clientName(client)}</p>
${problemBox(problem)}
${reason !== undefined && html`<p>${reason}</p>`}
${hasPassword && passwordForm(given)}
${ways.length > 0 && wayList(given)}
${!hasPassword && ways.length === 0 && html`<p>There is no way to sign in to this application here.</p>`}
${cancelForm(given)}`,
  };
}

function passwordForm({ path, csrf, username, problem }: LoginPage): Html {
  const isWrong = problem !== undefined;
  const hasName = username !== undefined && username !== '';
  return html`<form method="post" action="${path}/login">
${hidden('csrf', csrf)}
${field({
  id: 'username',
  label: 'User name',
  autocomplete: 'username',
  value: username,
  isWrong,
  hasFocus: !hasName,
})}
${field({
  id: 'password',
  label: 'Password',
  type: 'password',
  autocomplete: 'current-password',
  isWrong,
  hasFocus: hasName,
})}
<div class="check">
<input type="checkbox" id="remember" name="remember" value="yes">
<label for="remember">Keep me signed in on this device</label>
</div>
<button type="submit">Sign in</button>
</form>`;
}

/** Links, not forms: a form's chain of redirects would be held to form-action through the other provider's pages. */
function wayList({ path, ways, hasPassword }: LoginPage): Html {
  return html`${hasPassword && html`<h2 class="or">Or sign in with</h2>`}
<ul class="ways">
${ways.map(
  ({ name, title }) =>
    html`<li><a class="button ${hasPassword && 'second'}" href="${path}/idp/${name}"><bdi>${title}</bdi></a></li>\n`,
)}</ul>`;
}

function cancelForm({ path, csrf }: Pick<Shared, 'path' | 'csrf'>): Html {
  return html`<form method="post" action="${path}/abort">
${hidden('csrf', csrf)}
<button type="submit" class="quiet">Cancel</button>
</form>`;
}

export type CodePage = Shared & { readonly username: string };

export function codePage({ client, path, csrf, problem, username, formAction }: CodePage): Page {
  return {
    title: 'Enter your code',
    isWrong: problem !== undefined,
    formAction,
    body: html`<h1>Enter your code</h1>
<p class="lead">to continue to ${clientName(client)} as <bdi>${username}</bdi></p>
${problemBox(problem)}
<form method="post" action="${path}/code">
${hidden('csrf', csrf)}
${field({
  id: 'code',
  label: 'One-time code',
  hint: 'Six digits, from your authenticator app',
  autocomplete: 'one-time-code',
  isCode: true,
  isNumber: true,
  hasFocus: true,
  isWrong: problem !== undefined,
})}
<button type="submit">Continue</button>
</form>
<form method="post" action="${path}/restart">
${hidden('csrf', csrf)}
<button type="submit" class="quiet">Sign in as somebody else</button>
</form>`,
  };
}
