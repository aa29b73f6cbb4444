import type { Io } from './command.ts'

// Also in bin/agentgate; here again for whoever runs the bundle itself. It would open an inspector.
process.on('SIGUSR1', () => undefined)

const lingerMs = 1000

const argv = process.argv.slice(2)
const io: Io = {
  argv,
  env: process.env,
  cwd: process.cwd(),
  // Opened when used: reading it is the business of a child, where there is one.
  get stdin() {
    return process.stdin
  },
  stdout: process.stdout,
  stderr: process.stderr,
  exitCode: 0,
}

// `agentgate sessions | head -1`: whoever read us has seen enough. A command that has something to close listens itself.
for (const stream of [process.stdout, process.stderr])
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error
    if (stream.listenerCount('error') === 1) process.exit(io.exitCode)
  })

const [word = ''] = argv
if (argv.length === 0 || (argv.length === 1 && ['help', '--help', '-h'].includes(word))) {
  const { topScreen } = await import('./top-screen.ts')
  io.stdout.write(topScreen(io, argv.length > 0))
} else if (argv.length === 1 && ['--version', '-V'].includes(word)) {
  const { version } = await import('./version.ts')
  io.stdout.write(`${version}\n`)
} else {
  const { run } = await import('./program.ts')
  process.exitCode = await run(io)
  // All is done and closed. What still holds the process open (a connection that its server does not end) must not hold up
  // a CI job; what a slow reader has not taken yet may.
  setInterval(() => {
    if (process.stdout.writableLength === 0 && process.stderr.writableLength === 0) process.exit()
  }, lingerMs).unref()
}
