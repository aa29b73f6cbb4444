/** What `demo` runs under, on disk for the person to read and change. */
export function demoPolicy(address: string): string {
  return `# What "agentgate demo" runs under. One of your own starts with: agentgate init
version: 1

resources:
  shop:
    kind: postgres
    address: ${address}
    database: shop
    tls: off                       # it is on this machine; elsewhere the server's certificate is checked
    credential: { issuer: static, user: app, secret: "\${env:DEMO_PASSWORD}" }
    scopes:
      support: {}

rules:
  - name: no unbounded writes
    when: { statement: [update, delete], where: missing }
    then: deny
    message: an UPDATE or DELETE needs a WHERE

  - name: schema changes go through migrations
    when: { statement: [drop, truncate, alter] }
    then: deny

  - name: payments need a second look
    when: { statement: [insert, update, delete], table: payments }
    then: approve
    approvers: { within: 10m }

masks:
  - { name: contact data, columns: [customers.email, customers.phone], with: partial }
  - { name: card numbers, columns: [payments.card_number], with: redact }
`
}
