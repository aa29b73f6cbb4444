import { AuditLog } from '../../src/audit/audit-log.ts'
import { auditPlan, auditSchema } from '../../src/policy/audit-settings.ts'

// Emits numbered events until it is killed, and says each once it is committed: node writer-child.ts ROOT SETTINGS

const [, , root = '', settings = '{}'] = process.argv
const plan = auditPlan(auditSchema.parse(JSON.parse(settings)), false)
if (plan === null) throw new Error('no settings')
const log = new AuditLog({ root, plan, folder: root, env: process.env, version: '0', onWarning: () => undefined })
for (let count = 0; ; count++) {
  log.emit({ kind: 'test', text: `number ${count}` }, Date.now(), `child-${process.pid}-${count}`)
  log.commit()
  process.stdout.write(`child-${process.pid}-${count}\n`)
  if (count % 20 === 0) await new Promise(resolve => setTimeout(resolve, 1))
}
