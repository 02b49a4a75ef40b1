"""The things of the demo: what they are called in English and Chinese, and which emoji show them.

Every glyph is a single code point, so that drawing it needs no text shaping, and belongs to one class. The names are
ours. A class with three or more glyphs keeps one of them, `held_out`, away from training: the least a detector must do
to know a thing rather than a picture is to recognise a picture of it that it never saw.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = [
    "CLASSES",
    "CLUTTER",
    "CLUTTER_HELD_OUT",
    "CLUTTER_MORE",
    "LETTERED",
    "Group",
    "ThingClass",
    "names",
    "names_zh",
]

Group = Literal["clothing", "electronics", "home", "food", "animal", "vehicle", "person"]


@dataclass(frozen=True, slots=True)
class ThingClass:
    """One class; its id is its place in `CLASSES`."""

    name: str
    name_zh: str
    group: Group
    glyphs: str  # those that training sees, one character each
    held_out: str = ""  # those that only held-out scenes show


def _group(group: Group, rows: Sequence[tuple[str, str, str, str]]) -> tuple[ThingClass, ...]:
    return tuple(ThingClass(name, name_zh, group, glyphs, held_out) for name, name_zh, glyphs, held_out in rows)


_CLOTHING = _group(
    "clothing",
    [
        ("shirt", "上衣", "👕👔🎽", "👚"),
        ("coat", "外套", "🧥🥼", ""),
        ("trousers", "裤子", "👖🩳", ""),
        ("dress", "裙子", "👗🥻", ""),
        ("swimwear", "泳衣", "👙🩲", "🩱"),
        ("shoe", "鞋", "👟👞🥿", "🥾"),
        ("high heel", "高跟鞋", "👠👢", "👡"),
        ("hat", "帽子", "🎩👒🧢", "🎓"),
        ("helmet", "头盔", "⛑🪖", ""),
        ("glasses", "眼镜", "👓🥽", "🕶"),
        ("handbag", "手提包", "👜👛", "👝"),
        ("backpack", "背包", "🎒", ""),
        ("suitcase", "箱包", "🧳💼", ""),
        ("umbrella", "雨伞", "☂⛱🌂", "☔"),
        ("gloves", "手套", "🧤", ""),
        ("ring", "戒指", "💍", ""),
    ],
)

_ELECTRONICS = _group(
    "electronics",
    [
        ("mobile phone", "手机", "📱📲", "📳"),
        ("telephone", "电话机", "☎", ""),
        ("computer", "电脑", "💻🖥", ""),
        ("television", "电视机", "📺", ""),
        ("keyboard", "键盘", "⌨", ""),
        ("computer mouse", "鼠标", "🖱🖲", ""),
        ("printer", "打印机", "🖨", ""),
        ("camera", "照相机", "📷📸", ""),
        ("video camera", "摄像机", "🎥📽", "📹"),
        ("headphones", "耳机", "🎧", ""),
        ("microphone", "麦克风", "🎤🎙", ""),
        ("loudspeaker", "扬声器", "🔈🔊🔇", "🔉"),
        ("radio", "收音机", "📻", ""),
        ("gamepad", "游戏手柄", "🎮", ""),
        ("battery", "电池", "🔋🪫", ""),
        ("disc", "光盘", "💿💽", "📀"),
        ("light bulb", "灯泡", "💡", ""),
        ("watch", "手表", "⌚", ""),
        ("alarm clock", "闹钟", "⏰⏲", "⏱"),
        ("clock", "时钟", "🕐🕒🕔🕗🕙🕛🕜🕟🕡🕦", "🕓🕖🕤"),
    ],
)

_HOME = _group(
    "home",
    [
        ("chair", "椅子", "🪑", ""),
        ("bed", "床", "🛏", ""),
        ("toilet", "马桶", "🚽", ""),
        ("key", "钥匙", "🔑🗝", ""),
        ("padlock", "挂锁", "🔒🔓🔐", "🔏"),
        ("scissors", "剪刀", "✂", ""),
        ("tool", "工具", "🔨🛠⛏🪓🔧", "⚒"),
        ("book", "书", "📕📘📙📔📒📚", "📗📓"),
        ("envelope", "信封", "✉📧📩💌", "📨"),
        ("pen", "笔", "✏🖋🖍🖌", "🖊"),
        ("folder", "文件夹", "📁🗂", "📂"),
        ("calendar", "日历", "📅🗓", "📆"),
        ("document", "文件", "📄📑📰🧾", "📃"),
        ("banknote", "钞票", "💵💴💷", "💶"),
        ("medal", "奖牌", "🥇🥉🎖", "🥈"),
        ("ball", "球", "⚽🏀⚾🏈🎱", "🏐🥎"),
        ("guitar", "吉他", "🎸🪕", "🎻"),
        ("flower", "花", "🌸🌺🌻💐🌹", "🌼🌷"),
        ("gift box", "礼盒", "🎁", ""),
        ("trophy", "奖杯", "🏆", ""),
    ],
)

_FOOD = _group(
    "food",
    [
        ("apple", "苹果", "🍎🍏", ""),
        ("citrus fruit", "柑橘", "🍊🍋", ""),
        ("banana", "香蕉", "🍌", ""),
        ("watermelon", "西瓜", "🍉", ""),
        ("grapes", "葡萄", "🍇", ""),
        ("strawberry", "草莓", "🍓", ""),
        ("bread", "面包", "🍞🥖🥯", "🥐"),
        ("meat", "肉", "🍖🥩🥓", "🍗"),
        ("hamburger", "汉堡", "🍔", ""),
        ("wrap", "卷饼", "🌮🌯", "🥙"),
        ("pizza", "披萨", "🍕", ""),
        ("bowl of food", "碗装饭菜", "🍜🥣🥗🍚🍛", "🍲"),
        ("cake", "蛋糕", "🎂🍰", "🧁"),
        ("ice cream", "冰淇淋", "🍦🍧", "🍨"),
        ("doughnut", "甜甜圈", "🍩", ""),
        ("cup", "茶杯", "☕🍵", ""),
        ("bottle", "瓶子", "🍾🍶🧴", "🍼"),
        ("cutlery", "餐具", "🍴🥄🥢", "🍽"),
        ("wine glass", "酒杯", "🍷🍸🥂", "🍹"),
        ("beer", "啤酒", "🍺🍻", ""),
        ("soft drink", "饮料", "🥤🧃", "🧋"),
    ],
)

_ANIMALS = _group(
    "animal",
    [
        ("dog", "狗", "🐕🐩🐶", "🦮"),
        ("cat", "猫", "🐈🐱😺😻😾🙀", "😸😼"),
        ("horse", "马", "🐎🐴🏇", "🎠"),
        ("cow", "牛", "🐄🐮🐃", "🐂"),
        ("pig", "猪", "🐖🐷", ""),
        ("mouse", "老鼠", "🐀🐭🐹", "🐁"),
        ("rabbit", "兔子", "🐇🐰", ""),
        ("sheep", "羊", "🐑🐐", "🐏"),
        ("bear", "熊", "🐻🐼", ""),
        ("big cat", "狮虎豹", "🐅🦁🐯", "🐆"),
        ("elephant", "大象", "🐘🦣", ""),
        ("monkey", "猴子", "🐒🐵🙈🙊", "🙉"),
        ("bird", "鸟", "🐦🦅🦆🦜🕊🦢", "🦉🐧"),
        ("chicken", "鸡", "🐔🐓🐤🐣", "🐥"),
        ("fish", "鱼", "🐟🐠🦈", "🐡"),
        ("whale", "鲸和海豚", "🐳🐬", "🐋"),
        ("shellfish", "虾蟹", "🦀🦐", "🦞"),
        ("insect", "昆虫", "🐛🐜🐝🪲🦗", "🐞"),
        ("turtle", "乌龟", "🐢", ""),
        ("butterfly", "蝴蝶", "🦋", ""),
    ],
)

_VEHICLES = _group(
    "vehicle",
    [
        ("car", "汽车", "🚗🚕🚓🚘🏎🚖", "🚙🚔"),
        ("bus", "公交车", "🚌🚍🚐", "🚎"),
        ("truck", "卡车", "🚚🛻🚒🚑", "🚛"),
        ("train", "火车", "🚂🚃🚆🚇🚊🚅", "🚋🚈🚄"),
        ("bicycle", "自行车", "🚲🚴", ""),
        ("motorcycle", "摩托车", "🏍🛵", ""),
        ("aeroplane", "飞机", "✈🛫🛬", "🛩"),
        ("helicopter", "直升机", "🚁", ""),
        ("boat", "船", "⛵🚤🛥🚢", "⛴"),
        ("tractor", "拖拉机", "🚜", ""),
    ],
)

_PEOPLE = _group("person", [("person", "人", "🚶🏃🕺💃🧎", "🧍🕴")])

CLASSES: tuple[ThingClass, ...] = (*_CLOTHING, *_ELECTRONICS, *_HOME, *_FOOD, *_ANIMALS, *_VEHICLES, *_PEOPLE)

CLUTTER = "🪨🪵🌵🌴🍁🍄🪴🧱🪢🧊🧽🪣🧹🎈🔮🧿💎🪁🧩🪜🛟🌰🥜🧅🎲🧬🪐🌈❄⭐🔥"  # glyphs of no class, in training
CLUTTER_MORE = (  # and those among which a medley shows things, in training
    "😀😂😍😎😡😱🥶🤠🤖👻👽👾💩🎃👹🤡💀❤💛💚💙💜🖤💔♈♎♿⚠🚫⛔🛑❌✅❓❗➕⏩🔄🆗🅰"
    "🔴🔵🟢🟡🟥🟦🟩🔶🔷🔺💠🏁🚩☀☁⛅🌧🌩🌨🌪🌊☄🌟✨💥💫🌍🌎⛄🌋🗻⛰🏔🏕🏠🏡🏢🏥🏦🏨"
    "🏭🏯🏰⛪🕌🗼🗽⛲🎡🎢🎪👍👎👌✌👋✋👊💪👂👃👁👄👅🦷🦴🧠🌽🥕🥒🥦🥬🥑🍆🥔🌶🍑🍒🍐🥝"
    "🍅🥭🍈🍬🍭🍫🍪🍡🍿🧂🥫🍳🥚🧈🍘🍙🍥🍢🪟🚪🛋🛁🚿🪞🛒🗿🏺⚓🧭🪙🔗⛓🧰🪤🎯♟🃏🀄🎰🎵"
    "🎶🥁🎺🎷🔭🔬🧪⚗🌡💉💊🩺🩹🔖📌📎📐📏📍🗑📊📈🔍🔎🕯🧨🎆🎇🎉🎊🎗🎟🎫🏷🐍🦎🐊🐸🦇🦔"
    "🦓🦒🐫🦘🦥🦛🦏🐌🐙🦑🦂🕷🕸🐾🌿☘🍀🪶🥀🎋🧸🪆🪅🛎📿💈🧯🔫🛡🗡🏹🪃🔩⚙🗜⚖🩸🦠🧶🧵"
    "🪡💄👣🩴🩰🎿🛷🥌🏓🏸🥊🥅⛳🪀🎣🤿🛹🛼"
)
CLUTTER_HELD_OUT = "🌲🌳🍂🐚🪸🧲🧷🧻🧼🎀🎍🏮🎐🪩🥨🥥🫧🌙⚡💧"  # and those that only held-out scenes show

LETTERED = (
    "📅📆📧💌🥇🥉🥈💵💴💷💶🕐🕒🕔🕗🕙🕛🕜🕟🕡🕦🕓🕖🕤🎱🚌🚑🚓🚔🚕🚖"  # glyphs with writing or a dial: never mirrored
)


def names() -> list[str]:
    """English names in the order of class ids."""
    return [thing.name for thing in CLASSES]


def names_zh() -> list[str]:
    """Chinese names in the order of class ids."""
    return [thing.name_zh for thing in CLASSES]
