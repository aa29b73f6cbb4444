import { AgentgateError } from '../../errors.ts'
import { Confinement } from './confinement.ts'
import { Seatbelt } from './seatbelt.ts'
import { unconfinedHint, type Walls, type WallsOptions } from './walls.ts'

/** @throws AgentgateError UNCONFINED where this system gives no way: nothing runs half confined, and nothing is left behind */
export function raiseWalls(options: WallsOptions, platform: NodeJS.Platform = process.platform): Walls {
  switch (platform) {
    case 'linux':
      return Confinement.prepare(options)
    case 'darwin':
      return Seatbelt.prepare(options)
    default:
      throw new AgentgateError('UNCONFINED', `there is no confinement on ${platform}`, { hint: unconfinedHint })
  }
}
