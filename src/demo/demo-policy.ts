import { demoClient } from './identity-provider.ts'

/** What `demo` runs under, on disk for the person to read and change. */
export function demoPolicy(address: string, issuer: string): string {
  return `# What "agentgate demo" runs under. One of your own starts with: agentgate init
version: 1

issuers:                             # who says who somebody is; here the demo's own
  - { issuer: "${issuer}", audience: ${demoClient} }

resources:
  shop:
    kind: postgres
    address: ${address}
    database: shop
    tls: off                         # it is on this machine; elsewhere the server's certificate is checked
    credential: { issuer: postgres-role, admin: "\${env:DEMO_ADMIN_URL}" }
    scopes:
      support: { grant: ["SELECT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public"] }

access:
  - { who: { group: support }, resources: [shop], scopes: [support], ttl: 1h }

rules:
  - name: no unbounded writes
    when: { statement: [update, delete], where: missing }
    then: deny
    message: an UPDATE or DELETE needs a WHERE

  - name: schema changes go through migrations
    when: { statement: [drop, truncate, alter] }
    then: deny

  - name: payments need a second pair of eyes
    when: { statement: [insert, update, delete], table: payments }
    then: approve
    approvers: { group: dba, not-self: true, within: 10m }

masks:
  - { name: contact data, columns: [customers.email, customers.phone], with: partial }
  - { name: card numbers, columns: [payments.card_number], with: redact }
`
}
