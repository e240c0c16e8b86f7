"""Templates of @liquid and what liquidjs 10.30.1 makes of them, set up as @segment/actions-core does, in UTC."""

# ruff: noqa: E501 a template and its answer are one line each

from __future__ import annotations

from typing import Any

PAYLOAD: dict[str, Any] = {
    "name": "Jane Doe",
    "spaced": "  a  b ",
    "html": "<b>a & b</b>",
    "emoji": "😀é",
    "empty_text": "",
    "n": 7,
    "f": 2.5,
    "total": 19.99,
    "negative": -3,
    "zero": 0,
    "yes": True,
    "no": False,
    "nothing": None,
    "list": [1, 2, None, "b"],
    "object": {"k": "v", "n": 1},
    "none": [],
    "price": "19.99",
    "text_number": "12",
    "big": 1e21,
    "items": [{"id": 1, "p": 2.5, "q": True}, {"id": 2, "p": 3}],
    "at": "2024-03-05T06:07:08.009Z",
    "at_5": "2024-03-05T23:07:08+05:00",
    "seconds": 1709618828,
}

ANSWERS = r"""
{{ nothing | append: "x" }}{{ "x" | append: nothing }}{{ "x" | append: yes }}{{ no | prepend: f }}
→xxxtrue2.5false
{{ nothing | upcase }}{{ yes | upcase }}{{ n | upcase }}{{ nope | strip | escape }}{{ list | append: "!" }}
→TRUE712b!
{{ "x" | prepend: nope }}{{ object | append: "x" }}{{ f | append: "x" }}{{ 1.0 | append: "x" }}
→x[object Object]x2.5x1x
{{ nope | json }}|{{ nothing | json }}|{{ list | json }}|{{ object | jsonify }}|{{ name | inspect }}
→|null|[1,2,null,"b"]|{"k":"v","n":1}|"Jane Doe"
{{ total | times: 100 }} {{ 1.1 | times: 3 }} {{ total | minus: 9.99 }} {{ 0.1 | plus: 0.2 }}
→1998.9999999999998 3.3000000000000003 9.999999999999998 0.30000000000000004
{{ price | plus: "1" }} {{ name | plus: 1 }} {{ nothing | plus: 1 }} {{ yes | plus: 1 }} {{ n | plus: object }}
→20.99 1 1 2 7
{{ n | divided_by: 2 }} {{ n | divided_by: 0 }} {{ negative | divided_by: 0 }} {{ 0 | divided_by: 0 }}
→3.5 Infinity -Infinity NaN
{{ n | divided_by: 2, true }} {{ n | modulo: 4 }} {{ negative | modulo: 4 }} {{ n | modulo: 0 }} {{ n | modulo: 2.5 }}
→3 3 1 NaN 2
{{ 0.5 | round }} {{ 1.5 | round }} {{ 2.5 | round }} {{ -1.5 | round }} {{ 1.005 | round: 2 }} {{ big | round }}
→1 2 3 -2 1.01 1e+21
{{ f | ceil }} {{ f | floor }} {{ negative | abs }} {{ n | at_least: 9 }} {{ n | at_most: 3 }} {{ price | ceil }}
→3 2 3 9 3 20
{{ n | plus: }} {{ big }} {{ big | times: big }} {{ 0.0000001 }} {{ name | to_integer }}
→NaN 1e+21 1e+42 1e-7 NaN
{{ name | first }}{{ name | last }}{{ name[0] }}{{ name.first }}|{{ list.first }}{{ list | last }}{{ list[-1] }}
→JeJ|1bb
{{ name | size }} {{ emoji | size }} {{ emoji.size }} {{ object | size }} {{ object.size }} {{ n | size }} {{ nothing | size }}
→8 3 3 0 2 0 0
{{ list | join: "-" }} {{ list | join }} {{ none | join }}|{{ name | join }}|{{ list | sum }} {{ items | sum: "p" }}
→1-2--b 1 2  b |Jane Doe|3 5.5
{{ list | compact | json }} {{ list | push: 3 | json }} {{ list | pop | json }} {{ list | shift | unshift: 0 | json }}
→[1,2,"b"] [1,2,null,"b",3] [1,2,null] [0,2,null,"b"]
{{ items | where: "id", 1 | json }} {{ items | where: "q" | size }} {{ name | where: "x" | size }}
→[{"id":1,"p":2.5,"q":true}] 1 0
{{ name | slice: 1 }} {{ name | slice: -3, 2 }} {{ name | slice: 0, 100 }} {{ list | slice: 1, 2 | json }} {{ name | slice }}
→a Do Jane Doe [2,null] J
{{ name | split: " " | last }} {{ "a,b,," | split: "," | size }} {{ nothing | split: "," | size }} {{ "abc" | split: "" | join: "-" }}
→Doe 2 0 a-b-c
{{ name | replace: "e", "$&" }} {{ name | replace: nothing, "x" }} {{ name | replace_first: "e", "E" }} {{ name | remove: "e" }}
→Jan$& Do$& Jxaxnxex xDxoxe JanE Doe Jan Do
{{ name | replace_last: "e", "E" }} {{ name | remove_first: "e" }} {{ name | remove_last: "e" }} {{ name | remove: nothing }}
→Jane DoE Jan Doe Jane Do Jane Doe
{{ spaced | strip }}|{{ spaced | lstrip }}|{{ spaced | rstrip }}|{{ spaced | squish }}|{{ name | strip: "Je" }}
→a  b|a  b |  a  b|a b|ane Do
{{ name | truncate: 5 }} {{ name | truncate: 0 }} {{ name | truncate: 8 }} {{ name | truncatewords: 1 }} {{ n | truncate: 3 }}
→Ja... ... Jane Doe Jane... 7
{{ html | escape }} {{ html | strip_html }} {{ "&lt;<" | escape_once }} {{ html | xml_escape }} {{ name | escape: 1 }}
→&lt;b&gt;a &amp; b&lt;/b&gt; a & b &lt;&lt; &lt;b&gt;a &amp; b&lt;/b&gt; Jane Doe
{{ "a b~*'()!é" | url_encode }} {{ "a%20b+c" | url_decode }} {{ "a=b (c)" | cgi_escape }} {{ "a b/ü" | uri_escape }}
→a+b~*'()!%C3%A9 a b c a%3Db+%28c%29 a%20b/%C3%BC
{{ name | base64_encode }} {{ "aGk=" | base64_decode }} {{ name | sha256 }} {{ name | capitalize }} {{ "éa" | capitalize }}
→SmFuZSBEb2U= hi 01332c876518a793b7c1b8dfaf6d4b404ff5db09b21c6627ca59710cc24f696a Jane doe Éa
{{ nothing | default: "d" }} {{ no | default: "d" }} {{ no | default: "d", allow_false: true }} {{ zero | default: "d" }}
→d d false 0
{{ none | default: "d" }} {{ empty_text | default: nope | default: "z" }} {{ object | default: "d" }}
→d z [object Object]
{{ nothing | date: "%Y" }}|{{ name | date: "%Y" }}|{{ at | date }}|{{ n | date: "%Y" }}|{{ "1709618828" | date: "%Y" }}
→|Jane Doe|Tuesday, March 5, 2024 at 6:07 am +0000|1970|2024
{{ at | date: "%Y-%m-%dT%H:%M:%S.%LZ" }} {{ at | date: "%s%L" }} {{ at_5 | date: "%Y-%m-%d %H:%M %z %:z" }}
→2024-03-05T06:07:08.009Z 1709618828009 2024-03-05 18:07 +0000 +00:00
{{ at | date: "%-d/%-m/%y %I %l %L %N %3N %Q %^a %j %e %u %w %U %W %p %P %C %%" }} {{ seconds | date: "%b %B %a %A %h" }}
→5/3/24 06  6 009 009000000 009 %Q TUE 065  5 2 2 09 10 AM am 20 % Mar March Tue Tuesday Mar
{{ at | date: "%H:%M", "America/New_York" }} {{ at | date: "%H:%M %z", 300 }} {{ at | date: "%c|%x|%X|%_m|%05d|%_S" }}
→01:07 01:07 -0500 3/5/2024, 6:07:08 AM|3/5/2024|6:07:08 AM| 3|00005| 8
{{ at | date_to_xmlschema }} {{ at | date_to_rfc822 }} {{ at | date_to_string }} {{ "March 5, 2024" | date: "%Y-%m-%d" }}
→2024-03-05T06:07:08+00:00 Tue, 05 Mar 2024 06:07:08 +0000 05 Mar 2024 2024-03-05
{{ "2024-03-05" | date: "%s" }} {{ "Tue, 05 Mar 2024 06:07:08 +0100" | date: "%H:%M" }} {{ "2024/03/05" | date: "%j" }}
→1709596800 05:07 065
{% if price > 10 %}a{% endif %}{% if text_number > 3 %}b{% endif %}{% if name > 3 %}c{% endif %}{% if "b" > "a" %}d{% endif %}
→abd
{% if nothing < 3 %}a{% endif %}{% if nope < 3 %}b{% endif %}{% if nothing >= 0 %}c{% endif %}{% if nope <= nope %}d{% endif %}
→ac
{% if nothing == blank %}a{% endif %}{% if nope == blank %}b{% endif %}{% if spaced == blank %}c{% endif %}{% if no == blank %}d{% endif %}
→abd
{% if nothing == empty %}a{% endif %}{% if none == empty %}b{% endif %}{% if "" == empty %}c{% endif %}{% if object == empty %}d{% endif %}
→bc
{% if nope == nil %}a{% endif %}{% if null == nil %}b{% endif %}{% if no == nil %}c{% endif %}{% if nope == null %}d{% endif %}
→abd
{% if text_number == 12 %}a{% endif %}{% if yes == 1 %}b{% endif %}{% if n == 7.0 %}c{% endif %}{% if list == list %}d{% endif %}
→cd
{% if blank != nil %}a{% endif %}{% if nil != blank %}b{% endif %}{% if empty == blank %}c{% endif %}{% if nil < 3 %}d{% endif %}
→b
{% if list contains "b" %}a{% endif %}{% if list contains nothing %}b{% endif %}{% if name contains n %}c{% endif %}
→ab
{% if "null" contains nothing %}a{% endif %}{% if object contains "k" %}b{% endif %}{% if (1..3) contains 2 %}c{% endif %}
→ac
{% if not no %}a{% endif %}{% if not yes and no %}b{% endif %}{% if not n == 8 %}c{% endif %}{% if not yes or yes %}d{% endif %}
→acd
{% if empty_text %}a{% endif %}{% if zero %}b{% endif %}{% if nothing %}c{% endif %}{% unless no %}d{% endunless %}{% if none %}e{% endif %}
→abde
{{ (1..3) }} {{ (3..1) }} {{ (n..9) | join: "-" }} {{ object.k.x }}{{ nothing.x }}{{ now }}{{ object["k"] }}{{ items[0].p }}
→123  7-8-9 v2.5
"""
"""Each template in one line, and below it, after the arrow, what comes of it."""
