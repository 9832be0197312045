"""Maintainer's script: cut the Chinese font of the figures out of Noto Sans CJK SC.

    pip install fonttools;  apt-get install fonts-noto-cjk
    python data/fonts/make_subset.py /usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc

Run it again when data/zh (the world, the messages, the texts) or a lesson gains a character
(tests/test_plots.py says so). More text files may follow the font on the command line. The same
source and the same texts give the same bytes. Licence: OFL.txt; the result does not use the
reserved name "Source".
"""

import argparse
from pathlib import Path

from fontTools import subset
from fontTools.ttLib import TTCollection, TTFont

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
FAMILY = "minirlhf CJK"
ASCII = "".join(chr(code) for code in range(0x20, 0x7F))
PUNCTUATION = "　，。！？：；（）“”‘’《》〈〉「」『』【】、…—·～￥％＋－＝＜＞×÷±≤≥≠≈√∑∞°←→↑↓"
FULL_WIDTH = "０１２３４５６７８９"
# Roughly the 600 most common characters of written Chinese, so that what a person types mostly
# renders, and the words of a classroom.
COMMON = """
的一是了我不人在他有这个上们来到时大地为子中你说生国年着就那和要她出也得里后自以会家可下而过天去能对小多然于心学么之都好
看起发当没成只如事把还用第样道想作种开美总从无情己面最女但现前些所同日手又行意动方期它头经长儿回位分爱老因很给名法间斯知世
什两次使身者被高已亲其进此话常与活正感见明问力理尔点文几定本公特做外孩相西果走将月十实向声车全信重三机工物气每并别真打太新
比才便夫再书部水像眼等体却加电主界门利海受听表德少克代员许先口由死安写性马光白或住难望教命花结乐色更拉东神记处让母父应直字
场平报友关放至张认接告入笑内英军候民岁往何度山觉路带万男边风解叫任金快原吃妈变通师立象数四失满战远格士音轻目条呢病始达深完
今提求清王化空业思切怎非找片罗钱南反五干确办红黑早春夏秋冬六七八九百千零二左右星期晚午昨分钟半年级课班题答案老师生同学校园
猫狗鸟鱼牛羊猪兔虎龙象熊鸡鸭鹅蛇猴茶奶咖啡糖果苹香蕉西瓜米饭面包蛋糕肉菜汤盐油酒杯碗盘刀灯球帽子衣服鞋袜裤裙桌椅床窗墙房屋
跑跳唱歌舞蹈游泳画读写数说听看玩睡醒坐站飞走买卖借送拿放开关推拉哭笑喜欢讨厌害怕伤难过累忙困饿渴冷热暖凉痛快慢新旧干净脏漂亮
聪明笨胖瘦强弱硬软厚薄宽窄甜酸苦辣咸淡雨雪云雷电阳月亮星河湖海岛树林森草叶根石沙土火烟木铁铜银纸笔尺橡皮盒箱袋瓶伞钥匙锁绳
医院商店公园城市村镇街道桥站台机场码头火汽自行船票邮局银图馆厅楼厨室卧浴厕阳台院子农田工厂实验室办公家里外上下北京广州深圳津重庆
爸爷奶哥弟姐妹叔姑姨舅丈妻儿孙邻居客朋伴侣孩童青少成司护士警察工程律演员作司机农商诗厨军画歌手模型机器语言训练奖励策略优势
谁哪怎吗呀吧呢啊哦嗯哈唉嘿请谢谢对不起没关系再见您好早安晚欢迎愿意必须应该需要可以能够希望觉得认为知道明白懂记忘帮助参加
张条只头匹根支把本册件套双对副间座辆艘架台部首幅枝朵棵颗粒块片段篇份群批杯瓶盏盒种类些点名位口回次遍趟阵场顿声
"""


def collect(paths):
    """Characters of the built-in lists and of every text file in `paths`. -> sorted str."""
    characters = set(ASCII + PUNCTUATION + FULL_WIDTH + COMMON)
    for path in paths:
        text = path.read_text(encoding="utf-8")
        characters |= set(text)
    return "".join(sorted(character for character in characters if character.isprintable()))


def simplified_face(source):
    """The Simplified Chinese face of a .ttc, or the only face of another font file."""
    if source.suffix.lower() not in (".ttc", ".otc"):
        return TTFont(source, recalcTimestamp=False)
    names = [face["name"].getDebugName(1) for face in TTCollection(source, lazy=True).fonts]
    number = names.index("Noto Sans CJK SC")
    return TTFont(source, fontNumber=number, recalcTimestamp=False)


def rename(font):
    """Give the subset its own family name; a second font called Noto would collide with it."""
    postscript = FAMILY.replace(" ", "-")
    for record in list(font["name"].names):
        if record.nameID in (0, 13, 14) and record.langID in (0, 0x409):
            continue                                             # copyright and licence stay
        font["name"].removeNames(record.nameID, record.platformID, record.platEncID,
                                 record.langID)
    new_names = {1: FAMILY, 2: "Regular", 3: f"2.004;{postscript}", 4: FAMILY, 5: "Version 2.004",
                 6: postscript}
    for name_id, text in new_names.items():
        font["name"].setName(text, name_id, 3, 1, 0x409)
    if "CFF " in font:
        table = font["CFF "].cff
        table.fontNames[0] = postscript
        table.topDictIndex[0].FullName = table.topDictIndex[0].FamilyName = FAMILY


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="NotoSansCJK-Regular.ttc or a single font file")
    parser.add_argument("texts", type=Path, nargs="*", help="more texts to cover")
    parser.add_argument("--out", type=Path, default=HERE / "minirlhf-cjk.otf")
    arguments = parser.parse_args()
    # a checkpoint is no text; its vocabulary is that of the corpus
    files = sorted(path for path in (ROOT / "data" / "zh").glob("**/*")
                   if path.is_file() and path.suffix != ".npz")
    for pattern in ("minirlhf/**/*.py", "notebooks/src/*.py"):  # examples stand in lessons too
        files += sorted(ROOT.glob(pattern))
    characters = collect(files + arguments.texts)
    font = simplified_face(arguments.source)
    options = subset.Options(layout_features=[], hinting=False, name_IDs=["*"],
                             name_languages=["*"], notdef_outline=True, desubroutinize=True,
                             drop_tables=["BASE", "GPOS", "GSUB", "vhea", "vmtx", "VORG", "DSIG"])
    subsetter = subset.Subsetter(options)
    subsetter.populate(text=characters)
    subsetter.subset(font)
    rename(font)
    font.save(arguments.out)
    missing = "".join(sorted(set(characters) - {chr(code) for code in font.getBestCmap()}))
    print(f"{arguments.out}: {len(characters)} characters, {arguments.out.stat().st_size} bytes,"
          f" not in the source font: {missing or 'none'}")


if __name__ == "__main__":
    main()
