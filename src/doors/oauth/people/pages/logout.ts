/** The pages of a logout (OpenID Connect RP-Initiated Logout 1.0). */
import { html } from '../html.ts';
import type { Page } from '../page.ts';
import { type ClientName, clientName, hidden } from './parts.ts';

export type LogoutPage = {
  readonly action: string;
  readonly xsrf: string;
  readonly client?: ClientName | undefined;
  readonly formAction: readonly string[];
};

export function logoutPage({ action, xsrf, client, formAction }: LogoutPage): Page {
  return {
    title: 'Sign out',
    formAction,
    body: html`<h1>Sign out?</h1>
<p class="lead">${client !== undefined && html`${clientName(client)} asks to sign you out. `}You would be signed
 out of every application that you use with this account in this browser.</p>
<form method="post" action="${action}">
${hidden('xsrf', xsrf)}
<button type="submit" name="logout" value="yes">Sign out</button>
<button type="submit" class="second">Stay signed in</button>
</form>`,
  };
}

export type ContinuePage = {
  readonly action: string;
  readonly fields: readonly (readonly [name: string, value: string])[];
  readonly formAction: readonly string[];
};

/** An earlier session, or what is left of one, ends with it. */
export function continuePage({ action, fields, formAction }: ContinuePage): Page {
  return {
    title: 'Continue',
    formAction,
    body: html`<h1>One more step</h1>
<p class="lead">Your earlier sign-in in this browser ends here.</p>
<form method="post" action="${action}">
${fields.map(([name, value]) => hidden(name, value))}
<button type="submit" autofocus>Continue</button>
</form>`,
  };
}

/** Who stayed signed in comes here too. */
export function loggedOutPage(client: ClientName | undefined): Page {
  return {
    title: client === undefined ? 'Signed out' : 'Done',
    body:
      client === undefined
        ? html`<h1>Signed out</h1>
<p>You are signed out. You may close this page.</p>`
        : html`<h1>Done</h1>
<p>You are signed out of ${clientName(client)}, and stay signed in here. You may close this page.</p>`,
  };
}
