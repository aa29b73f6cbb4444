import { closeSync, readdirSync, readFileSync } from 'node:fs'

const closeOnExec = 0o2000000 // O_CLOEXEC (open(2), Linux)

/**
 * Closes what whoever started this process left open above stderr and would be left open for a child too: a file, a
 * socket, a terminal that nobody meant to hand on. Node opens all of its own close-on-exec. To be called early.
 */
export function closeInheritedDescriptors(): void {
  let names: readonly string[]
  try {
    names = readdirSync('/proc/self/fd')
  } catch {
    return // not Linux: node closes what it can by itself
  }
  for (const name of names) {
    const descriptor = Number(name)
    if (descriptor <= 2) continue
    try {
      const flags = /^flags:\s*(\d+)/m.exec(readFileSync(`/proc/self/fdinfo/${name}`, 'latin1'))?.[1]
      if (flags !== undefined && (Number.parseInt(flags, 8) & closeOnExec) === 0) closeSync(descriptor)
    } catch {
      continue // the folder's own descriptor, closed by now
    }
  }
}
