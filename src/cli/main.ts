import type { Io } from './command.ts'

// Also in bin/agentgate; here again for whoever runs the bundle itself. It would open an inspector.
process.on('SIGUSR1', () => undefined)

const io: Io = {
  env: process.env,
  cwd: process.cwd(),
  stdin: process.stdin,
  stdout: process.stdout,
  stderr: process.stderr,
  exitCode: 0,
}

const { run } = await import('./program.ts')
process.exitCode = await run(process.argv.slice(2), io)
