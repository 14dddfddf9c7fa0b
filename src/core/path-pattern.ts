/** For schemas that know patterns only: an absolute path without `//`, `/./`, `/../`, a final slash or NUL. */
export const ABSOLUTE_PATH = /^(?!.*\/\.{1,2}(?:\/|$))(?:\/[^/\0]+)+$/;
