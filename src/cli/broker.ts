import { Option, type Command } from 'commander'
import type { Io } from './command.ts'
import { readGlobals } from './globals.ts'
import { examples, exitCodes } from './help.ts'
import { seconds } from './resource-options.ts'

export interface BrokerFlags {
  listen?: string
  tlsCert?: string
  tlsKey?: string
  grace?: number
  metrics?: string
  own?: boolean
  pushedPolicy?: boolean
  witnessKey?: string
}

export function configure(command: Command, io: Io): void {
  command
    .addOption(
      new Option('--listen <host:port>', 'for others, by TLS; else on a unix socket of yours alone').env(
        'AGENTGATE_LISTEN',
      ),
    )
    .addOption(new Option('--tls-cert <file>', 'its certificate and the chain to it, PEM').env('AGENTGATE_TLS_CERT'))
    .addOption(new Option('--tls-key <file>', 'the key of that, PEM').env('AGENTGATE_TLS_KEY'))
    .addOption(
      new Option('--metrics <host:port>', '/healthz, /readyz and /metrics without TLS, for what runs beside it').env(
        'AGENTGATE_METRICS',
      ),
    )
    .addOption(
      new Option('--grace <time>', 'how long a tunnel may not be heard of before its session ends; 5m where not said')
        .env('AGENTGATE_GRACE')
        .argParser(seconds),
    )
    .addOption(
      new Option(
        '--pushed-policy',
        'the policy is what administrators push (agentgate policy push); the file is what it begins with',
      ).env('AGENTGATE_PUSHED_POLICY'),
    )
    .addOption(new Option('--own', 'the one that starts by itself').hideHelp())
    .addOption(
      new Option('--witness-key <file>', 'with which it countersigns recordings, PEM; else one in its store').env(
        'AGENTGATE_WITNESS_KEY',
      ),
    )
    .action(async (flags: BrokerFlags) => {
      if (flags.own === true) {
        const { runOwnBroker } = await import('./own-broker-run.ts')
        await runOwnBroker(io)
        return
      }
      const { runBroker } = await import('./broker-run.ts')
      await runBroker(flags, readGlobals(command, io), io)
    })
  const openapi = command.command('openapi').description('its API as an OpenAPI 3.1 document')
  openapi.action(async () => {
    const [{ openApiDocument }, { version }] = await Promise.all([
      import('../control/openapi.ts'),
      import('./version.ts'),
    ])
    io.stdout.write(`${JSON.stringify(openApiDocument(version), null, 2)}\n`)
  })
  examples(openapi, [['agentgate broker openapi > broker.json', 'for a generator of clients']])
  const key = command.command('key').description('the public key by which its receipts are verified')
  key.action(async () => {
    const { printWitnessKey } = await import('./broker-key.ts')
    await printWitnessKey(readGlobals(key, io).json, io)
  })
  examples(key, [
    ['agentgate broker key > broker.pem', 'for whoever verifies without the broker'],
    ['agentgate sessions verify --all --from s3://acme-agentgate/recordings --key broker.pem', ''],
  ])
  exitCodes(key, [[6, 'no broker answers']])
  examples(command, [
    ['agentgate broker', 'for yourself: sessions of AGENTGATE_BROKER=unix:… are granted here'],
    ['agentgate broker --listen 0.0.0.0:8443 --tls-cert cert.pem --tls-key key.pem', 'for a team'],
    ['agentgate login https://broker.example.com:8443', 'on everybody’s own machine'],
  ])
  exitCodes(command, [[0, 'ended by SIGINT or SIGTERM; what it granted lives on until it is back, or expires']])
}
