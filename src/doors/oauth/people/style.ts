/** The one stylesheet, in every page; nothing is fetched for it. Contrast is at least 4.5:1 (WCAG 2.2, 1.4.3). */
export const STYLE = `
:root {
  color-scheme: light dark;
  --ground: #eef1f4; --card: #ffffff; --text: #18212b; --soft: #4f5d6b; --line: #7d8a97; --hair: #d5dce3;
  --accent: #0b57a4; --accent-text: #ffffff; --accent-hover: #084480; --bad: #a4161a; --bad-ground: #fdeeee;
  --good: #14682f;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #12171d; --card: #1b222a; --text: #e8edf2; --soft: #a9b5c1; --line: #7b8896; --hair: #323c47;
    --accent: #8ec2ff; --accent-text: #0a1c30; --accent-hover: #b5d8ff; --bad: #ffb3b0; --bad-ground: #3a1d1f;
    --good: #8fdba6;
  }
}
*, ::before, ::after { box-sizing: border-box; }
html { font: 100%/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
body { margin: 0; min-height: 100vh; min-height: 100dvh; display: flex; flex-direction: column;
  align-items: center; justify-content: center; padding: 1.5rem 1rem; background: var(--ground); color: var(--text); }
main { width: 100%; max-width: 26rem; background: var(--card); border: 1px solid var(--hair);
  border-radius: .75rem; padding: 2rem; overflow-wrap: anywhere; }
@media (max-width: 30rem) {
  body { padding: 0; justify-content: flex-start; background: var(--card); }
  main { border: 0; border-radius: 0; padding: 2rem 1.25rem; max-width: none; }
}
.brand { margin: 0 0 1.25rem; font-size: .875rem; font-weight: 600; color: var(--soft); }
h1 { margin: 0 0 .25rem; font-size: 1.5rem; line-height: 1.25; font-weight: 650; }
h2 { margin: 1.5rem 0 .5rem; font-size: 1rem; font-weight: 600; }
p { margin: 0 0 1rem; }
h1 + p:not(.lead) { margin-top: .75rem; }
.lead { color: var(--soft); margin-bottom: 1.5rem; }
.lead strong { color: var(--text); }
.note { font-size: .875rem; color: var(--soft); }
.problem { margin: 0 0 1.25rem; padding: .75rem 1rem; border-left: .25rem solid var(--bad);
  background: var(--bad-ground); color: var(--text); border-radius: .25rem; }
.problem p:last-child { margin: 0; }
label { display: block; margin: 0 0 .375rem; font-weight: 600; }
.field { margin: 0 0 1.125rem; }
.field .note { margin: 0 0 .375rem; }
input[type=text], input[type=password] { width: 100%; min-height: 2.75rem; padding: .5rem .75rem; font: inherit;
  color: inherit; background: var(--card); border: 1px solid var(--line); border-radius: .375rem; }
input[aria-invalid=true] { border: 2px solid var(--bad); }
input.code { font: 1.375rem/1.3 ui-monospace, "DejaVu Sans Mono", monospace; letter-spacing: .15em; }
.check { display: flex; gap: .625rem; align-items: flex-start; margin: 0 0 1.25rem; }
.check label { margin: 0; font-weight: 400; }
.check input { width: 1.25rem; height: 1.25rem; margin: .125rem 0 0; flex: none; accent-color: var(--accent); }
button, a.button { display: block; width: 100%; min-height: 2.75rem; padding: .5rem 1rem; margin: 0 0 .75rem;
  font: inherit; font-weight: 600; text-align: center; text-decoration: none; cursor: pointer; border-radius: .375rem;
  border: 1px solid var(--accent); background: var(--accent); color: var(--accent-text); }
button:hover, a.button:hover { background: var(--accent-hover); border-color: var(--accent-hover); }
button.second, a.second { background: var(--card); color: var(--accent); border-color: var(--line); }
button.second:hover, a.second:hover { background: var(--ground); color: var(--accent); border-color: var(--accent); }
button.quiet { background: none; border-color: transparent; color: var(--accent); font-weight: 400;
  text-decoration: underline; margin: 0; }
a { color: var(--accent); }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
ul.ways { list-style: none; margin: 0; padding: 0; }
ul.scopes { margin: 0 0 1rem; padding: 0 0 0 1.25rem; }
ul.scopes li { margin: 0 0 .375rem; }
.or { margin: 1.25rem 0 .75rem; padding-top: 1.25rem; border-top: 1px solid var(--hair); font-size: 1rem; }
.show-code { margin: 0 0 1rem; font: 1.75rem/1.3 ui-monospace, "DejaVu Sans Mono", monospace; letter-spacing: .1em;
  text-align: center; padding: .75rem; border: 1px solid var(--hair); border-radius: .375rem; }
code { font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: .875em; }
dl { margin: 0 0 1rem; font-size: .875rem; }
dt { color: var(--soft); }
dd { margin: 0 0 .5rem; }
@media (forced-colors: active) { main, button, a.button, .problem { border: 1px solid; } }
`;
