/** A simple command as a shell would run it (POSIX.1-2017 XCU §2.9.1), quotes removed. */
export interface ShellCommand {
  readonly words: readonly ShellWord[]
  /** Read out of another's words, such as what follows `sudo -u x`: it may run. */
  readonly maybe: boolean
}

export interface ShellWord {
  /** What is certain of it, up to the first part that only running tells. */
  readonly text: string
  readonly open: boolean
}

export interface ShellReading {
  readonly commands: readonly ShellCommand[]
  /** Something runs that cannot be read here: text made by another command, a quote that never ends. */
  readonly unclear: boolean
  /** Output goes to a file. */
  readonly redirected: boolean
}

const maxDepth = 8
const shells = new Set(['sh', 'bash', 'dash', 'zsh', 'ksh', 'ash', 'fish', 'busybox'])
/** Programs that run what stands among their own words. */
const wrappers = new Set(
  [
    'sudo',
    'doas',
    'su',
    'runuser',
    'env',
    'nohup',
    'time',
    'nice',
    'ionice',
    'setsid',
    'stdbuf',
    'timeout',
    'command',
  ].concat([
    'builtin',
    'exec',
    'xargs',
    'parallel',
    'watch',
    'strace',
    'chroot',
    'unshare',
    'nsenter',
    'find',
    'busybox',
    'script',
  ]),
)
const reserved = new Set(['if', 'then', 'else', 'elif', 'while', 'until', 'do', '!', '{', '}', 'fi', 'done', 'coproc'])

/**
 * The commands in a line of shell, those inside substitutions, subshells and `sh -c` too. Made for deciding, not for
 * running: what it cannot be sure of it says.
 */
export function readShell(text: string): ShellReading {
  const reader = new Reader(text)
  reader.list(0)
  return reader
}

/** A program's name without its folder. */
export function programOf(command: ShellCommand): ShellWord {
  const [first = { text: '', open: false }] = command.words
  return { text: first.text.slice(first.text.lastIndexOf('/') + 1), open: first.open }
}

class Reader implements ShellReading {
  readonly commands: ShellCommand[] = []
  unclear = false
  redirected = false
  readonly #text: string
  #at = 0
  #heredocs: { readonly end: string; readonly stripped: boolean }[] = []

  constructor(text: string) {
    this.#text = text
  }

  /** Up to the end, or to the `)` that closes what the caller has opened. */
  list(depth: number): void {
    if (depth > maxDepth) {
      this.unclear = true
      this.#at = this.#text.length
      return
    }
    let words: ShellWord[] = []
    const finish = () => {
      this.#add(words, depth)
      words = []
    }
    while (this.#at < this.#text.length) {
      const character = this.#text[this.#at] ?? ''
      if (character === ')') break
      if (character === '\n') {
        finish()
        this.#at++
        this.#skipHeredocs()
      } else if (/\s/.test(character)) this.#at++
      else if (character === ';' || character === '&' || character === '|') {
        // `>&` and `&>` are redirections, met below.
        if (character === '&' && this.#text[this.#at + 1] === '>') this.#redirection(depth)
        else {
          finish()
          this.#at++
        }
      } else if (character === '(') {
        finish()
        this.#nested(depth)
      } else if (character === '#') {
        const end = this.#text.indexOf('\n', this.#at)
        this.#at = end === -1 ? this.#text.length : end
      } else if (character === '<' || character === '>') this.#redirection(depth)
      else {
        const word = this.#word(depth)
        const next = this.#text[this.#at]
        // The number of a descriptor belongs to its redirection.
        if (/^\d+$/.test(word.text) && !word.open && (next === '<' || next === '>')) continue
        if (words.length === 0 && !word.open && reserved.has(word.text)) continue
        if (words.length === 0 && /^[A-Za-z_]\w*\+?=/.test(word.text)) continue
        words.push(word)
      }
    }
    finish()
  }

  #nested(depth: number): void {
    this.#at++
    this.list(depth + 1)
    if (this.#text[this.#at] === ')') this.#at++
    else this.unclear = true
  }

  #redirection(depth: number): void {
    const rest = this.#text.slice(this.#at)
    const operator = /^(?:&>>?|<<<|<<-?|<>|<&|<|>>|>&|>\||>)/.exec(rest)?.[0] ?? '>'
    if (/^[<>]\(/.test(rest)) {
      this.#at++
      this.#nested(depth)
      return
    }
    this.#at += operator.length
    while (/[ \t]/.test(this.#text[this.#at] ?? '')) this.#at++
    const target = this.#word(depth)
    if (operator.startsWith('<<') && operator !== '<<<')
      this.#heredocs.push({ end: target.text, stripped: operator.endsWith('-') })
    else if (operator.includes('>') && !/^(\d+|-|\/dev\/null)$/.test(target.text)) this.redirected = true
  }

  /** Data for a command; where that is a shell, the command itself is unclear already. */
  #skipHeredocs(): void {
    for (const { end, stripped } of this.#heredocs.splice(0)) {
      for (;;) {
        const stop = this.#text.indexOf('\n', this.#at)
        const line = this.#text.slice(this.#at, stop === -1 ? undefined : stop)
        this.#at = stop === -1 ? this.#text.length : stop + 1
        if ((stripped ? line.replace(/^\t+/, '') : line) === end || stop === -1) break
        // An unquoted one is expanded; what it runs is not looked for, only seen.
        if (/\$\(|`/.test(line)) this.unclear = true
      }
    }
  }

  #word(depth: number): ShellWord {
    let text = ''
    let open = false
    const put = (part: string) => {
      if (!open) text += part
    }
    while (this.#at < this.#text.length) {
      const character = this.#text[this.#at] ?? ''
      if (/[\s;&|()<>]/.test(character)) break
      switch (character) {
        case "'": {
          const end = this.#text.indexOf("'", this.#at + 1)
          if (end === -1) this.unclear = true
          put(this.#text.slice(this.#at + 1, end === -1 ? undefined : end))
          this.#at = end === -1 ? this.#text.length : end + 1
          break
        }
        case '"':
          this.#at++
          for (; this.#at < this.#text.length && this.#text[this.#at] !== '"';) {
            const inner = this.#text[this.#at] ?? ''
            if (inner === '\\') {
              put(this.#text[this.#at + 1] ?? '')
              this.#at += 2
            } else if (inner === '$' || inner === '`') open = this.#expansion(depth) || open
            else {
              put(inner)
              this.#at++
            }
          }
          if (this.#text[this.#at] === '"') this.#at++
          else this.unclear = true
          break
        case '\\':
          if (this.#text[this.#at + 1] !== '\n') put(this.#text[this.#at + 1] ?? '')
          this.#at += 2
          break
        case '$':
        case '`':
          open = this.#expansion(depth) || open
          break
        case '*':
        case '?':
        case '[':
        case '{':
          // What these become depends on files, or is several words.
          put(character)
          open ||= character === '{' ? /^\{[^\s{}]*(,|\.\.)/.test(this.#text.slice(this.#at)) : true
          this.#at++
          break
        default:
          put(character)
          this.#at++
      }
    }
    return { text, open }
  }

  /** Past `$…` or a backquoted command; whether what it becomes is unknown. A `$` by itself is one. */
  #expansion(depth: number): boolean {
    const rest = this.#text.slice(this.#at)
    if (rest.startsWith('$(')) {
      this.#at++
      this.#nested(depth)
      return true
    }
    if (rest.startsWith('`')) {
      const end = /^`((?:\\[^]|[^`\\])*)`/.exec(rest)
      if (end === null) {
        this.unclear = true
        this.#at = this.#text.length
        return true
      }
      this.#inner((end[1] ?? '').replace(/\\([`$\\])/g, '$1'), depth)
      this.#at += end[0].length
      return true
    }
    if (rest.startsWith('${')) {
      const end = rest.indexOf('}')
      if (end === -1 || /\$\(|`|\$\{/.test(rest.slice(2, end))) this.unclear = true
      this.#at += end === -1 ? rest.length : end + 1
      return true
    }
    const quoted = /^\$'(?:\\[^]|[^'\\])*'/.exec(rest)?.[0]
    const name = quoted ?? /^\$(?:[A-Za-z_]\w*|[0-9@*#?$!-])/.exec(rest)?.[0]
    this.#at += name?.length ?? 1
    return name !== undefined
  }

  #inner(text: string, depth: number): void {
    if (depth >= maxDepth) {
      this.unclear = true
      return
    }
    const reader = new Reader(text)
    reader.list(depth + 1)
    this.commands.push(...reader.commands)
    this.unclear ||= reader.unclear
    this.redirected ||= reader.redirected
  }

  #add(words: readonly ShellWord[], depth: number): void {
    if (words.length === 0) return
    const command = { words, maybe: false }
    this.commands.push(command)
    const program = programOf(command).text
    const rest = words.slice(1)
    if (program === 'eval') this.#script(rest, depth)
    else if (shells.has(program)) this.#shell(rest, depth)
    if (!wrappers.has(program)) return
    // Which of its words is a program depends on its options: each could be.
    for (let index = 0; index < rest.length; index++) {
      const inner = { words: rest.slice(index), maybe: true }
      this.commands.push(inner)
      const name = programOf(inner).text
      if (name === 'eval') this.#script(inner.words.slice(1), depth)
      else if (shells.has(name)) this.#shell(inner.words.slice(1), depth)
    }
  }

  #shell(words: readonly ShellWord[], depth: number): void {
    const option = words.findIndex(word => /^-[a-z]*c[a-z]*$/.test(word.text))
    if (option !== -1) this.#script(words.slice(option + 1, option + 2), depth)
    // A script's file is a program like any other; without one it reads what it is given.
    else if (words.every(word => word.text.startsWith('-') && !word.open)) this.unclear = true
  }

  #script(words: readonly ShellWord[], depth: number): void {
    if (words.some(word => word.open)) this.unclear = true
    else this.#inner(words.map(word => word.text).join(' '), depth)
  }
}
