import type { BigIntStats } from 'node:fs';

/** A text that changes whenever the content of a file does, where the file system keeps a change time of its own. */
export const versionOf = ({ dev, ino, size, mtimeNs, ctimeNs }: BigIntStats): string =>
  [dev, ino, size, mtimeNs, ctimeNs].join(' ');
