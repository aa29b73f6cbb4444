import { Paths } from '../config/paths.ts'
import { BrokerClient } from '../control/broker-client.ts'
import { AgentgateError } from '../errors.ts'
import { publicKeyOf, publicKeyPem } from '../recording/session-key.ts'
import { brokerHere } from './broker-client.ts'
import type { Io } from './command.ts'

/** Of the broker that is named, else of this user's own. */
export async function printWitnessKey(json: boolean, io: Io): Promise<void> {
  const at = brokerHere(io) ?? { address: `unix:${new Paths(io.env).brokerSocket()}` }
  const key = publicKeyOf(await new BrokerClient(at, null).witnessKey())
  if (key === undefined)
    throw new AgentgateError('BROKER_UNREACHABLE', 'the broker answered with a key that is none', {
      hint: 'both ends should be the same version: agentgate --version',
    })
  io.stdout.write(json ? `${JSON.stringify({ event: 'witness-key', key })}\n` : publicKeyPem(key))
}
