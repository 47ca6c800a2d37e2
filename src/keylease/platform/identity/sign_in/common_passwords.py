"""Words that passwords are too often made of: what guessers try first.

Compared without case, and without the digits and signs around or between the letters, so that
``Password-2026!`` is ``password`` here. Long ones stand as they are.
"""

from __future__ import annotations

from typing import Final

_WORDS: Final = """
password passwort passw passwd motdepasse contrasena wachtwoord parola haslo senha salasana lozinka
pass pwd secret geheim topsecret admin administrator administrateur root superuser sysadmin owner
user username guest test testing tester demo example sample default changeme changeit letmein
welcome willkommen bienvenue bienvenido login logmein signin access letmeinnow opensesame
qwerty qwertz azerty qwertyuiop qwertzuiop azertyuiop asdfgh asdfghjkl zxcvbn zxcvbnm yxcvbnm
qwertyuiopasdfghjkl qwertyuiopasdfghjklzxcvbnm qazwsx qazwsxedc qweasd qweasdzxc qwerasdf
abc abcd abcde abcdef abcdefg abcdefgh abcdefghij abcdefghijkl abcdefghijklmnopqrstuvwxyz aabbcc
iloveyou ilove loveyou loveme love lovely jesus christ angel princess sunshine rainbow flower
dragon monkey tiger lion eagle dolphin butterfly kitten puppy chocolate cookie pokemon naruto
football baseball basketball soccer hockey tennis golf liverpool chelsea arsenal barcelona
realmadrid superman batman spiderman starwars harrypotter pikachu minecraft fortnite roblox gamer
master shadow killer hunter ranger freedom whatever trustno trustnoone nothing something blahblah
computer internet server database network windows linux ubuntu debian google facebook microsoft
apple amazon samsung android iphone macbook github gitlab docker kubernetes
openai anthropic claude chatgpt gemini mistral keylease gateway vault lease
summer winter spring autumn fall january february march april may june july august september october
november december monday tuesday wednesday thursday friday saturday sunday today tomorrow
sommer fruehling herbst januar juni juli dezember
michael jennifer jessica michelle daniel andrew joshua charlie thomas robert jordan matthew ashley
nicole hannah anthony maggie ginger pepper
money dollar business company office corporate enterprise production staging development
correcthorsebatterystaple thequickbrownfox thequickbrownfoxjumpsoverthelazydog tobeornottobe
passwordpassword adminadmin rootroot testtest secretsecret welcomewelcome
"""
_LONG: Final = """
123456789012 1234567890123 12345678901234 123456789012345 1234567890123456 12345678901234567890
012345678901 098765432109 0987654321098 098765432101 112233445566 111222333444 123123123123
121212121212 123321123321 123456654321 123456123456 147258369147 147258369000 159753159753
741852963741 789456123789 987654321987 9876543210987 1qaz2wsx3edc 1qaz2wsx3edc4rfv 1q2w3e4r5t6y
1q2w3e4r5t6y7u8i q1w2e3r4t5y6 q1w2e3r4t5y6u7i8 zaq12wsxcde3 zaq1zaq1zaq1 1qazxsw23edc a1b2c3d4e5f6
a1b2c3d4e5f6g7h8 abc123abc123 abcd1234abcd abcd1234efgh qwer1234qwer qwer1234asdf 1234qwerasdf
qwe123qwe123 asdf1234asdf pass1234word p@ssw0rdp@ssw0rd p@ssw0rd1234 p4ssw0rd1234 passw0rd1234
pa55word1234 pa$$word1234 p@$$w0rd1234 passw0rd!123 adm1n1strat0r r00tr00tr00t l3tm31nl3tm31n
w3lc0mew3lc0me trustno1trustno1 ch4ng3m3ch4ng3m3
"""
COMMON: Final = frozenset(_WORDS.split()) | frozenset(_LONG.split())
