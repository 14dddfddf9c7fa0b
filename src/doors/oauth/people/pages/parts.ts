/** Pieces that several pages have. */
import { type Html, html } from '../html.ts';

/** A client as a page names it: what somebody else chose, so never without a <bdi>. */
export type ClientName = { readonly name: string };

export function clientName({ name }: ClientName): Html {
  return html`<strong><bdi>${name}</bdi></strong>`;
}

/** Read out when the page appears, and named by the fields that it is about. */
export function problemBox(problem: string | undefined): Html | undefined {
  return problem === undefined
    ? undefined
    : html`<div class="problem" role="alert" id="problem"><p>${problem}</p></div>`;
}

export type Field = {
  readonly id: string;
  readonly label: string;
  readonly type?: 'text' | 'password';
  readonly autocomplete: string;
  readonly value?: string | undefined;
  readonly hint?: string;
  readonly isWrong?: boolean;
  readonly hasFocus?: boolean;
  readonly isCode?: boolean;
  readonly isNumber?: boolean;
  readonly isUpperCase?: boolean;
};

export function field(given: Field): Html {
  const { id, label, type = 'text', autocomplete, value, hint, isWrong = false } = given;
  const described = [isWrong ? 'problem' : '', hint === undefined ? '' : `${id}-hint`]
    .filter(Boolean)
    .join(' ');
  return html`<div class="field">
<label for="${id}">${label}</label>
${hint !== undefined && html`<p class="note" id="${id}-hint">${hint}</p>`}
<input type="${type}" id="${id}" name="${id}" autocomplete="${autocomplete}" required
 autocapitalize="${given.isUpperCase === true ? 'characters' : 'none'}" autocorrect="off" spellcheck="false"
 ${value !== undefined && html`value="${value}"`}
 ${given.isCode === true && html`class="code"`}
 ${given.isNumber === true && html`inputmode="numeric"`}
 ${described !== '' && html`aria-describedby="${described}"`}
 ${isWrong && html`aria-invalid="true"`}
 ${given.hasFocus === true && html`autofocus`}>
</div>`;
}

export function hidden(name: string, value: string): Html {
  return html`<input type="hidden" name="${name}" value="${value}">`;
}
