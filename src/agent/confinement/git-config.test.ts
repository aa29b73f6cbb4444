import { describe, expect, it } from 'vitest'
import { withoutSecrets } from './git-config.ts'

describe('withoutSecrets', () => {
  it('keeps who commits and where to, and nothing that opens it', () => {
    const before = `[user]
	name = Maria
	email = maria@example.com
[remote "origin"]
	url = https://maria:ghp_secret@github.com/acme/shop.git
	fetch = +refs/heads/*:refs/remotes/origin/*
[http "https://github.com/"]
	extraheader = AUTHORIZATION: basic secret
[credential "https://github.com"]
	helper = store --file ~/.secret
	username = maria
[url "https://x-token:secret@gitlab.com/"]
	insteadOf = git@gitlab.com:
[core] askpass = /secret
[http]
	extraHeader = one \\
 secret
	postBuffer = 1
[branch "main"]
	merge = refs/heads/main
`
    const after = withoutSecrets(before)
    expect(after).not.toContain('secret')
    expect(after).toContain('url = https://github.com/acme/shop.git')
    expect(after).toContain('email = maria@example.com')
    expect(after).toContain('insteadOf = git@gitlab.com:')
    expect(after).toContain('postBuffer = 1')
    expect(after).toContain('merge = refs/heads/main')
  })
})
