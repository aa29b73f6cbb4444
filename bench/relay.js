// The least that can stand between a client and a server in Node: node bench/relay.js HOST PORT; prints its own port.
import net from 'node:net'

const [host, port] = process.argv.slice(2)
const server = net.createServer({ noDelay: true }, client => {
  const target = net.connect({ host, port: Number(port), noDelay: true })
  for (const socket of [client, target]) socket.on('error', () => undefined)
  client.on('close', () => target.destroy())
  target.on('close', () => client.destroy())
  client.pipe(target)
  target.pipe(client)
})
server.listen(0, '127.0.0.1', () => console.log(server.address().port))
