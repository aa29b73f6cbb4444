import { describe, expect, it } from 'vitest'
import { checkedTunnelEnvironment, childEnvironment } from './environment.ts'

const make = (parent: NodeJS.ProcessEnv, pass: readonly string[] = [], profile: Record<string, string> = {}) =>
  childEnvironment({ parent, pass, profile, workingFolder: '/work' })

describe('childEnvironment', () => {
  it('lets through what programs need and nothing that is not named', () => {
    expect(
      make({
        PATH: '/bin',
        HOME: '/h',
        LANG: 'C.UTF-8',
        LC_ALL: 'C',
        TERM: 'xterm',
        DATABASE_URL: 'postgresql://admin:secret@db/shop',
        ANTHROPIC_API_KEY: 'sk-1',
        GITHUB_TOKEN: 'ghp_1',
        NPM_TOKEN: 'npm_1',
        PGPASSWORD: 'x',
        LC_EVIL_name: 'x',
      }),
    ).toEqual({ PATH: '/bin', HOME: '/h', LANG: 'C.UTF-8', LC_ALL: 'C', TERM: 'xterm', PWD: '/work' })
  })

  it('passes what was named, and ignores a name that is not set', () => {
    expect(make({ FEATURE: 'on' }, ['FEATURE', 'ABSENT'])).toEqual({ FEATURE: 'on', PWD: '/work' })
  })

  it('lets a profile win over what is inherited', () => {
    expect(make({ EDITOR: 'vi' }, [], { EDITOR: 'true' })).toMatchObject({ EDITOR: 'true' })
  })

  it.each([
    'ACTIONS_ID_TOKEN_REQUEST_TOKEN',
    'ACTIONS_ID_TOKEN_REQUEST_URL',
    'ACTIONS_RUNTIME_TOKEN',
    'CI_JOB_JWT_V2',
    'CI_JOB_TOKEN',
    'MY_GITLAB_ID_TOKEN',
    'CIRCLE_OIDC_TOKEN_V2',
    'AWS_WEB_IDENTITY_TOKEN_FILE',
    'AWS_CONTAINER_CREDENTIALS_FULL_URI',
    'AWS_SECRET_ACCESS_KEY',
    'GOOGLE_APPLICATION_CREDENTIALS',
    'AZURE_FEDERATED_TOKEN_FILE',
    'SSH_AUTH_SOCK',
    'DBUS_SESSION_BUS_ADDRESS',
    'TMUX',
    'TMUX_PANE',
    'STY',
    'VSCODE_IPC_HOOK_CLI',
    'XDG_RUNTIME_DIR',
    'DISPLAY',
    'DOCKER_HOST',
    'KUBECONFIG',
    'NODE_OPTIONS',
    'LD_PRELOAD',
    'LD_LIBRARY_PATH',
    'DYLD_INSERT_LIBRARIES',
    'BASH_ENV',
    'AGENTGATE_HOME',
    'ld_preload',
  ])('never passes %s, even when asked', name => {
    expect(() => make({ [name]: 'x' }, [name])).toThrow(/is refused/)
    expect(make({ [name]: 'x' })).toEqual({ PWD: '/work' })
  })

  it('knows an identity token by its value', () => {
    const token = `eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJodHRwczovL2dpdGxhYiJ9.c2lnbmF0dXJl`
    expect(() => make({ DEPLOY: token }, ['DEPLOY'])).toThrow(
      '--pass-env DEPLOY is refused: it holds an identity token',
    )
  })

  it('refuses what is no name', () => {
    expect(() => make({}, ['A=b'])).toThrow(/not the name of a variable/)
  })
})

describe('checkedTunnelEnvironment', () => {
  it('writes one variable a line', () => {
    expect(checkedTunnelEnvironment({ PGHOST: '127.0.0.1', PGPORT: '5433' })).toEqual([
      'PGHOST=127.0.0.1',
      'PGPORT=5433',
    ])
  })
  it.each([{ A: 'x\ny' }, { 'A B': 'x' }, { A: 'x\0' }])('refuses %j', environment => {
    expect(() => checkedTunnelEnvironment(environment)).toThrow(/cannot be set/)
  })
})
