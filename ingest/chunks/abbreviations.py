"""Words from which the end of a sentence is told: in small letters, without their last full stop."""

from __future__ import annotations


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


NEVER_LAST = _set("""
    e.g i.e viz cf vs resp approx esp incl excl et.al
    mr mrs ms mx dr prof rev hon gen capt lt sgt cpl adm gov sen rep supt msgr messrs mme mlle
    fig figs eq eqs eqn eqns refs
    z.b d.h u.a u.\u00e4 i.d.r bzw vgl sog ggf evtl inkl exkl abb
    p.ej sra srta
""")
"""No sentence ends with these, whatever follows."""

BEFORE_NUMBERS = _set("""
    no nos nr nro num vol vols p pp pg s bd kap abschn abs art arts sec sect ch chap ref pt pts ver
    v vv l ll op tbl tab pl ed c ca \u00a7 \u00b6
    jan feb mar apr jun jul aug sep sept oct nov dec
""")
"""Before a number these end no sentence."""

SELDOM_LAST = _set("""
    al etc inc ltd co corp llc plc bros jr sr st ave blvd rd mt dept univ assn est eds pres hr fr usw
    ph.d m.d b.a m.a b.sc m.sc a.m p.m
""")
"""A sentence ends with these, as with an initial, only if the next word is one with which sentences begin."""

BEGINNERS = _set("""
    a an the this that these those there here he she it we they you i his her its our their my your
    who what when where why how which while if as at by for from in on to of with and but or so yet
    then thus hence however although though because since after before during until once all some
    many most each both no not one two
    der die das den dem ein eine es er sie wir ich ihr dies diese dieser dieses im am bei mit von zu
    und aber oder wenn als auch nach seit wer was wo wie
    le la les un une des il elle ils elles nous vous ce cette ces et mais ou si dans en pour par
    el los las una uno ella ellos ellas y pero se su sus este esta estos estas
    lo gli e ma questo questa
""")
"""Words with which sentences begin, and names hardly ever: English, German, French, Spanish, Italian."""

MONTHS = _set("""
    januar j\u00e4nner februar m\u00e4rz april mai juni juli august september oktober november dezember
""")
"""German writes a full stop behind the day before these."""
