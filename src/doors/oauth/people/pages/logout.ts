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
