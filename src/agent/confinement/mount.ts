/** One step in building the file system that a child sees; later steps lie over earlier ones. Paths are absolute. */
export type Mount =
  /** As it is outside, unchangeable; `source`, where given, is what is shown at `path`. */
  | { readonly kind: 'read-only'; readonly path: string; readonly source?: string }
  | { readonly kind: 'writable'; readonly path: string }
  /** Empty at first, the child's own, gone with it. */
  | { readonly kind: 'private'; readonly path: string; readonly mode: '0700' | '0755' | '1777' }
  /** What was private so far stays as it is now. */
  | { readonly kind: 'sealed'; readonly path: string }
  /** Empty, and nothing can be put there. */
  | { readonly kind: 'hidden-folder'; readonly path: string }
  | { readonly kind: 'hidden-file'; readonly path: string }
  | { readonly kind: 'link'; readonly path: string; readonly target: string }
  /** A minimal /dev: null, zero, full, random, urandom, tty, pts of its own. */
  | { readonly kind: 'devices'; readonly path: string }
  /** Processes of this namespace only. */
  | { readonly kind: 'processes'; readonly path: string }

/** Whether `path` is `folder` or lies below it. */
export function within(path: string, folder: string): boolean {
  return path === folder || path.startsWith(folder === '/' ? '/' : `${folder}/`)
}
