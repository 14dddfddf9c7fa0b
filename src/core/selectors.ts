/** The parts of selectors. */
import type { SelectorKind } from './ports.ts';

/** `unix:uid:1000` → `unix:uid`. */
export function kindOf(selector: string): SelectorKind {
  return selector.split(':', 2).join(':');
}

/** `unix:uid` → `unix.uid`. */
export function factOf(kind: SelectorKind): string {
  return kind.replace(':', '.');
}
