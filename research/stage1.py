from common import *
st,E,seed,aug=float(sys.argv[1]),int(sys.argv[2]),int(sys.argv[3]),int(sys.argv[4]); seq=sys.argv[5] if len(sys.argv)>5 else "pld"
WD=float(__import__("os").environ.get("WD","5e-4"))
lay=sys.argv[6].split(",") if len(sys.argv)>6 else ["fc1","fc2"]
torch.manual_seed(seed); net=mnist_mlp(init="torch")
XX=X
if aug:
    class Sh:
        V=None
        def __init__(s):
            im=X.view(-1,28,28); s.P=F.pad(im,(1,1,1,1)).reshape(-1,900)
            ids=torch.arange(900).view(30,30); s.I=torch.stack([ids[a:a+28,b:b+28].reshape(-1) for a in range(3) for b in range(3)])
        def __len__(s): return len(X)
        def __getitem__(s,i): return s.P[i[:,None],s.I[torch.randint(9,(len(i),))]]
    XX=Sh()
p=Path(f"dense{'A' if aug else ''}{seed}.pt")
if p.exists(): net.load_state_dict(torch.load(p))
else:
    t=time.time(); fit(net,30,.1,seed=seed,x=XX); print("dense",acc(net,XT,YT),time.time()-t,flush=True); torch.save(net.state_dict(),p)
t=time.time()
q={"pld":tg.pld(p=.3,floor=.85),"lasso":tg.lasso(),"pld7":tg.pld(p=.3,floor=.7)}[seq]
gr=tg.GrOWL(net,st,q,layers=lay); print(gr)
fit(net,E,float(__import__("os").environ.get("LR",".1")),growl=gr,every=5,wd=WD,seed=seed+100,log=10,x=XX)
print("final",st,seq,gr.nonzero(),"val",acc(net,XV,YV),"test",acc(net,XT,YT),time.time()-t,flush=True)
torch.save(net.state_dict(),f"s1{'A' if aug else ''}_{seq}_{'-'.join(lay)}_{st:g}_{E}_wd{WD:g}_{seed}.pt")
